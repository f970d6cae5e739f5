// The answer, drawn: the same lines and words as on a terminal, and below them every check.

import { element } from "./dom.js";

const WORDS = { ok: "ok", failed: "FAILED", not_checked: "not checked" };
const COMPARISONS = { equal: "", at_least: "at least ", at_most: "at most ", one_of: "one of ", none_of: "none of " };

/** Says why there is no answer yet. */
export function wait(text) {
  state("waiting");
  document.querySelector("#waiting").textContent = text;
  document.querySelector("#waiting").hidden = false;
  document.querySelector("#result").hidden = true;
}

/** Shows an answer of the verifier. */
export function show({ verdict, outline, text }) {
  begin(outline.outcome, outline.tag, outline.sentence);
  document.querySelector("#answer").classList.toggle("simulated", verdict.trust_class === "simulated");
  document.querySelector("#tree").replaceChildren(...outline.branches.map(branch));
  list("#open", outline.not_established);
  list("#hints", outline.hints);
  document.querySelector("#checks tbody").replaceChildren(...verdict.groups.flatMap(checks).map(row));
  document.querySelector("#as-text pre").textContent = text;
  document.querySelector("#as-json pre").textContent = JSON.stringify(verdict, null, 2);
  for (const part of ["#checks", "#as-text", "#as-json"]) document.querySelector(part).hidden = false;
}

/** Shows what files say that are no evidence by themselves, such as certificates and logs; nothing is judged. */
export function showContent({ files, checks }, names) {
  begin("described", "NOT JUDGED", "No report, quote or bundle is here: this is what the files say, whoever wrote them");
  document.querySelector("#answer").classList.remove("simulated");
  const said = files.map(({ content, error }, index) => field(names[index], content ?? error.message));
  const held = Object.keys(checks).length > 0 ? [field("what holds among them", checks)] : [];
  document.querySelector("#tree").replaceChildren(...[...said, ...held].map(branch));
  list("#open", []);
  list("#hints", ["add the report, quote or bundle that is to be verified"]);
  for (const part of ["#checks", "#as-text", "#as-json"]) document.querySelector(part).hidden = true;
}

/** Shows every field of every file. */
export function showFields(inspection) {
  document.querySelector("#fields pre").textContent = JSON.stringify(inspection, null, 2);
}

/** Shows why there is nothing to judge. */
export function showError(error) {
  begin("error", "NOTHING TO JUDGE", error.message);
  document.querySelector("#answer").classList.remove("simulated");
  document.querySelector("#tree").replaceChildren();
  list("#open", []);
  list("#hints", error.hint ? [error.hint] : []);
  for (const part of ["#checks", "#as-text", "#as-json"]) document.querySelector(part).hidden = true;
}

/** Lets the copy buttons copy. */
export function listenForCopies() {
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.querySelector(`#${button.dataset.copy} pre`).textContent);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }
}

function begin(name, tag, sentence) {
  document.querySelector("#waiting").hidden = true;
  document.querySelector("#result").hidden = false;
  document.querySelector("#tag").textContent = tag;
  document.querySelector("#sentence").textContent = sentence;
  state(name);
}

function state(name) {
  document.querySelector("#answer").dataset.state = name;
}

function branch({ label, text, status, remark, notes, children }) {
  const line = element("div", { class: "line" });
  if (label) line.append(element("span", { class: "label" }, label), " ");
  if (text) line.append(element("span", { class: "text" }, text), " ");
  if (status) line.append(mark(status), " ");
  if (remark) line.append(element("span", { class: "remark" }, remark));
  const item = element("li", {}, line, ...notes.map((note) => element("p", { class: "note" }, note)));
  if (children.length) item.append(element("ul", {}, ...children.map(branch)));
  return item;
}

/** A field and those in it, as a branch of the tree. */
function field(label, value) {
  const nested = value !== null && typeof value === "object";
  const children = nested ? Object.entries(value).map(([name, inner]) => field(name, inner)) : [];
  return { label, text: nested ? "" : value === null ? "none" : String(value), status: null, remark: "", notes: [], children };
}

function mark(status) {
  return element("span", { class: `status ${status}` }, WORDS[status]);
}

function list(id, texts) {
  const place = document.querySelector(id);
  place.hidden = texts.length === 0;
  place.querySelector("ul").replaceChildren(...texts.map((text) => element("li", {}, text)));
}

function checks(node) {
  return node.checks ? node.checks.flatMap(checks) : [node];
}

function row({ code, status, found, comparison, expected, source }) {
  const by = source?.named ?? source;
  const wanted = expected === undefined ? "" : `${COMPARISONS[comparison] ?? ""}${words(expected)} (${by})`;
  return element(
    "tr",
    {},
    element("td", {}, code),
    element("td", {}, mark(status)),
    element("td", {}, found === undefined ? "" : words(found)),
    element("td", {}, wanted),
  );
}

function words(value) {
  if (Array.isArray(value)) return value.map(words).join(", ");
  if (value !== null && typeof value === "object") return `${value.register} = ${value.value ?? "none"}`;
  return String(value);
}
