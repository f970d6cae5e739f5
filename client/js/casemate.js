// The verifier for JavaScript: WebAssembly of the same core that the command line uses. It knows no clock and
// no network: what it is not given, it does not know. `casemate.d.ts` describes every member.

/** Why there is nothing to judge. Evidence that is not good enough is an answer, not an error. */
export class CasemateError extends Error {
  constructor({ code, message, hint }) {
    super(message);
    this.name = "CasemateError";
    this.code = code;
    this.hint = hint;
  }
}

/**
 * Starts the verifier. Without an argument it takes `casemate.wasm` beside this file; a page or a bundler may
 * hand over the module's bytes, a response, or where to fetch it.
 */
export async function load(source = new URL("casemate.wasm", import.meta.url)) {
  return new Casemate(await compile(await source));
}

/** The verifier. Make one with `load`. */
export class Casemate {
  #module;
  #instance;

  constructor(module) {
    this.#module = module;
  }

  /** Judges files, and says why. */
  verify(files, question) {
    return this.#call({ verify: asRequest(question) }, files).answer;
  }

  /** Says of each file what it is. */
  recognise(files) {
    return this.#call({ recognise: {} }, files).files;
  }

  /** Says of each file what stands in it, and what holds among them; judges nothing. */
  inspect(files, { at = Date.now() } = {}) {
    return this.#call({ inspect: { at_ms: +at } }, files).inspection;
  }

  /** Policies to start from: `hardware_only` and `example`. */
  policies() {
    return this.#call({ policies: {} }, []).policies;
  }

  #call(request, files) {
    const reply = JSON.parse(this.#answer(frame(request, files)));
    if (reply.error) throw new CasemateError(reply.error);
    return reply;
  }

  #answer(bytes) {
    this.#instance ??= new WebAssembly.Instance(this.#module, {}).exports;
    const { memory, casemate_allocate, casemate_answer, casemate_free } = this.#instance;
    try {
      const given = casemate_allocate(bytes.length);
      new Uint8Array(memory.buffer, given >>> 0, bytes.length).set(bytes);
      const reply = casemate_answer(given, bytes.length) >>> 0;
      casemate_free(given, bytes.length);
      const length = new DataView(memory.buffer).getUint32(reply, true);
      const text = new TextDecoder().decode(new Uint8Array(memory.buffer, reply + 4, length));
      casemate_free(reply, length + 4);
      return text;
    } catch (cause) {
      // Out of memory, or a fault of the verifier: its memory may be in any state, so the next call starts anew.
      this.#instance = undefined;
      throw new CasemateError({
        code: "stopped",
        message: `the verifier stopped: ${cause.message}`,
        hint: "are the files very large? If not, please report this",
      });
    }
  }
}

/** The members as `docs/reference/question.md` spells them. */
function asRequest({ policy, at = Date.now(), subject, acceptSimulated = false, workload, images = [], challenge }) {
  const request = { policy, at_ms: +at, accept_simulated: acceptSimulated, images };
  if (subject !== undefined) request.subject = subject;
  if (workload !== undefined) request.workload = workload;
  if (challenge !== undefined) {
    const { nonce, reportData, application, madeAt } = challenge;
    const asked = { report_data: reportData, nonce, application };
    const [kind, value] = Object.entries(asked).find(([, value]) => value !== undefined) ?? ["report_data"];
    request.challenge = { [kind]: madeAt === undefined ? { value } : { value, made_ms: +madeAt } };
  }
  return request;
}

/** Request and files as one run of bytes: each part is its length, 32 bits little-endian, and its bytes. */
function frame(request, files) {
  const encoder = new TextEncoder();
  const parts = [encoder.encode(JSON.stringify(request))];
  for (const [index, file] of files.entries()) {
    const { name = `file ${index + 1}`, bytes } = file instanceof Uint8Array ? { bytes: file } : file;
    if (!(bytes instanceof Uint8Array)) throw new TypeError(`${name}: a file is a Uint8Array`);
    parts.push(encoder.encode(name), bytes);
  }
  const out = new Uint8Array(parts.reduce((length, part) => length + 4 + part.length, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const part of parts) {
    view.setUint32(at, part.length, true);
    out.set(part, at + 4);
    at += 4 + part.length;
  }
  return out;
}

async function compile(source) {
  if (source instanceof WebAssembly.Module) return source;
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) return WebAssembly.compile(source);
  if (typeof Response !== "undefined" && source instanceof Response) return compile(await source.arrayBuffer());
  const url = new URL(source, import.meta.url);
  if (url.protocol !== "file:") return compile(await fetch(url));
  const { readFile } = await import("node:fs/promises");
  return compile(await readFile(url));
}
