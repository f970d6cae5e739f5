// The page: whenever evidence or question change, the answer does.

import { load } from "../js/casemate.js";
import { listenForCopies, show, showContent, showError, showFields, wait } from "./answer.js";
import { Evidence } from "./evidence.js";
import { Question } from "./question.js";

async function start() {
  const casemate = await load(unpack(document.querySelector("#module").textContent.trim()));
  document.querySelector("#form").addEventListener("submit", (event) => event.preventDefault());
  listenForCopies();
  const evidence = new Evidence(() => {
    evidence.show(casemate.recognise(evidence.files));
    answer();
    // On a small screen the answer is far below; where it stands beside, nothing moves.
    if (evidence.files.length > 0) document.querySelector("#headline").scrollIntoView({ block: "nearest" });
  });
  const question = new Question(casemate.policies(), () => answer());
  const ask = () => question.read(evidence.challenge, evidence.subject);
  const inspect = () => casemate.inspect(evidence.files, ask());
  const tellFields = () => {
    try {
      showFields(inspect());
    } catch (error) {
      showFields({ error: error.message });
    }
  };
  const answer = () => {
    if (evidence.files.length === 0) return wait("It appears here as soon as there is evidence.");
    const began = performance.now();
    try {
      show(casemate.verify(evidence.files, ask()));
    } catch (error) {
      if (error.code === "no_evidence") showContent(inspect(), evidence.files.map(({ name }) => name));
      else showError(error);
    }
    document.querySelector("#answer").dataset.milliseconds = performance.now() - began;
    if (fields.open) tellFields();
  };
  const fields = document.querySelector("#fields");
  fields.addEventListener("toggle", () => fields.open && tellFields());
  answer();
}

/** The module, which the build packed (raw DEFLATE, base64) into the page itself. */
async function unpack(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")));
}

start().catch((error) => showError({ message: `The verifier does not start: ${error.message}`, hint: "this page needs a browser of 2023 or later, with WebAssembly" }));
