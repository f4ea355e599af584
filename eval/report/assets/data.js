// The answers: read from the page, and the few helpers that all other parts use.

const whole = new Intl.NumberFormat("en");
const languageNames = new Intl.DisplayNames(["en"], { type: "language", fallback: "none" });

/** The name of a language in English; the code where there is none. */
function languageName(code) {
  try {
    return languageNames.of(code) ?? code;
  } catch {
    return code; // not a code at all
  }
}

/** Whether a code is one that the attribute "lang" takes. */
function isLanguage(code) {
  return /^[a-z]{2,3}$/.test(code) && languageName(code) !== code;
}

/** Decompress and parse the answers, and tie them to their prompts and models. */
async function readAnswers() {
  const holder = document.getElementById("answers");
  const binary = atob(holder.textContent.trim());
  holder.remove();
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const data = await new Response(stream).json();
  data.byId = new Map();
  data.byGroup = new Map();
  for (const prompt of data.prompts) {
    for (const key of ["id", "group", "language", "task", "modifier", "instruction"]) prompt[key] ??= "";
    prompt.answers = [];
    if (prompt.group) append(data.byGroup, prompt.group, prompt);
  }
  for (const answer of data.answers) {
    answer.text ??= "";
    answer.prompt = data.prompts[answer.prompt];
    answer.model = data.models[answer.model];
    answer.prompt.answers.push(answer);
    append(data.byId, answer.id, answer);
  }
  return data;
}

function append(map, key, value) {
  if (map.has(key)) map.get(key).push(value);
  else map.set(key, [value]);
}
