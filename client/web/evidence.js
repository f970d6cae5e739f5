// What is handed over: files that are chosen, dropped or pasted, and the answer of an address.

import { element } from "./dom.js";

/** Greatest length of an answer, in bytes: that of an evidence bundle. */
const MAXIMUM_ANSWER = 1 << 20;
const TIMEOUT_MS = 30_000;

/** The files, each `{ name, bytes }`; from an address also `challenge`. */
export class Evidence {
  #files = [];
  #changed;

  constructor(changed) {
    this.#changed = changed;
    const input = document.querySelector("#files");
    input.addEventListener("change", () => this.#take([...input.files]).then(() => (input.value = "")));
    this.#listenForDrops();
    document.querySelector("#add-pasted").addEventListener("click", () => this.#paste());
    document.querySelector("#ask-address").addEventListener("click", () => this.#ask());
    document.querySelector("#address").addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.#ask();
    });
  }

  get files() {
    return this.#files;
  }

  /** The challenge that the evidence was asked with, if an address answered. */
  get challenge() {
    return this.#files.find((file) => file.challenge)?.challenge;
  }

  /** What to call the evidence. */
  get subject() {
    return this.#files.find((file) => file.site)?.site;
  }

  /** Shows the files with what each of them is. */
  show(recognised) {
    const items = this.#files.map((file, index) => {
      const { kind, error } = recognised[index];
      const remove = element("button", { type: "button", title: "Remove", "aria-label": `Remove ${file.name}` }, "×");
      remove.addEventListener("click", () => this.#remove(file));
      const name = element("span", { class: "name" }, file.name, " ", element("span", { class: "size" }, size(file.bytes.length)));
      const item = element("li", { "data-kind": kind?.kind ?? "" }, name);
      item.append(element("span", { class: "kind" }, kind?.name ?? "not recognised"), remove);
      if (error) item.append(element("p", { class: "problem" }, `${error.message}. Hint: ${error.hint}.`));
      return item;
    });
    document.querySelector("#given").replaceChildren(...items);
  }

  #listenForDrops() {
    const page = document.documentElement;
    page.addEventListener("dragover", (event) => {
      event.preventDefault();
      page.classList.add("dragging");
    });
    page.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) page.classList.remove("dragging");
    });
    page.addEventListener("drop", (event) => {
      event.preventDefault();
      page.classList.remove("dragging");
      this.#take([...event.dataTransfer.files]);
    });
  }

  async #take(chosen) {
    const files = [];
    for (const file of chosen) {
      try {
        files.push({ name: file.name, bytes: new Uint8Array(await file.arrayBuffer()) });
      } catch {
        // A folder, or a file that is gone: it shows as what it is, empty and not recognised.
        files.push({ name: file.name, bytes: new Uint8Array() });
      }
    }
    this.#add(files);
  }

  #paste() {
    const field = document.querySelector("#pasted");
    if (!field.value.trim()) return field.focus();
    const number = this.#files.filter((file) => file.name.startsWith("pasted")).length + 1;
    this.#add([{ name: number === 1 ? "pasted text" : `pasted text ${number}`, bytes: new TextEncoder().encode(field.value) }]);
    field.value = "";
  }

  async #ask() {
    const status = document.querySelector("#ask-status");
    const field = document.querySelector("#address");
    const text = field.value.trim();
    try {
      const site = new URL(text.includes("://") ? text : `https://${text}`);
      status.textContent = `Asking ${site.host}…`;
      const nonce = [...crypto.getRandomValues(new Uint8Array(32))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      const madeAt = Date.now();
      const bytes = await answerOf(new URL(`/.well-known/casemate?nonce=${nonce}`, site));
      this.#files = this.#files.filter((file) => !file.site);
      this.#add([{ name: `answer of ${site.host}`, bytes, site: site.host, challenge: { nonce, madeAt } }]);
      status.textContent = `${site.host} answered.`;
    } catch (error) {
      status.textContent = `No answer: ${error.message}. The site must serve /.well-known/casemate and let other sites read it (CORS).`;
    }
  }

  #add(files) {
    this.#files = [...this.#files, ...files];
    this.#changed();
  }

  #remove(file) {
    this.#files = this.#files.filter((other) => other !== file);
    this.#changed();
  }
}

async function answerOf(url) {
  const response = await fetch(url, {
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    referrerPolicy: "no-referrer",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const parts = [];
  let length = 0;
  for (let reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > MAXIMUM_ANSWER) {
      await reader.cancel();
      throw new Error(`more than ${size(MAXIMUM_ANSWER)}`);
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function size(bytes) {
  return bytes < 10_000 ? `${bytes} bytes` : `${Math.round(bytes / 1024)} KiB`;
}
