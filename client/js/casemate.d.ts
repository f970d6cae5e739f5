/** A file that was handed over: its bytes, and perhaps what to call it. */
export type File = Uint8Array | { name?: string; bytes: Uint8Array };

/** What is asked. What is not expected is not asked for, and fails if the policy says `"expected"`. */
export interface Question {
  /** The appraisal policy, as TOML (docs/reference/policy.md). */
  policy: string;
  /** When it is judged: now, if left out. For recorded evidence, a time when its certificates were valid. */
  at?: Date | number;
  /** What to call it in the answer. */
  subject?: string;
  /** Whether simulated hardware will do, where the policy lists its root. */
  acceptSimulated?: boolean;
  /** The workload that must run: SHA-256 of its manifest, and where you have it from. */
  workload?: { digest: string; source: string };
  /** Known launch measurements, hexadecimal, and where you have them from. */
  images?: { image: string; measurement: string; source: string }[];
  /**
   * What the evidence must answer: 32 bytes that a Casemate guest was given, all 64 bytes of report data, or the bytes
   * over which a service of a guest asked for it, all hexadecimal.
   */
  challenge?:
    | { nonce: string; reportData?: undefined; application?: undefined; madeAt: Date | number }
    | { reportData: string; nonce?: undefined; application?: undefined; madeAt: Date | number }
    | { application: string; nonce?: undefined; reportData?: undefined; madeAt?: Date | number };
}

/** What is answered. */
export interface Answer {
  /** The kind of each file, in the order in which they came. */
  kinds: Kind[];
  /** Every check (docs/reference/verdict.md). */
  verdict: Verdict;
  /** The verdict as people read it, in pieces. */
  outline: Outline;
  /** The verdict as people read it, as text. */
  text: string;
}

/** Kinds of files. More will come. */
export type Kind =
  | "bundle"
  | "snp_report"
  | "tdx_quote"
  | "sgx_quote"
  | "certificates"
  | "revocation_list"
  | "intel_collateral"
  | "nitro_document"
  | "azure_report"
  | "tpm_quote"
  | "tpm_signature"
  | "tpm_pcrs"
  | "tpm_public_area"
  | "public_key"
  | "event_log"
  | "ima_list"
  | "nvidia_report"
  | "nvidia_manifest"
  | (string & {});

export type Outcome = "verified" | "refused" | "not_genuine";
export type Status = "ok" | "failed" | "not_checked";
/** A number, a word, digits of bytes, a register, or several. */
export type Value = null | number | string | { register: number; value: string | null } | Value[];

/** The result of an appraisal. */
export interface Verdict {
  outcome: Outcome;
  trust_class: "real" | "simulated" | null;
  policy_digest: string;
  claims: { platform: string; measurement: string; [name: string]: unknown } | null;
  groups: Node[];
  not_established: string[];
}

/** A check, or a group of checks. */
export interface Node {
  code: string;
  status: Status;
  found?: Value;
  comparison?: "equal" | "at_least" | "at_most" | "one_of" | "none_of";
  expected?: Value;
  source?: "evidence" | "policy" | "caller" | { named: string };
  hint?: string;
  checks?: Node[];
}

/** A verdict as people read it. */
export interface Outline {
  sentence: string;
  tag: string;
  outcome: Outcome;
  branches: Branch[];
  not_established: string[];
  hints: string[];
}

/** One line of the tree and what hangs below it. */
export interface Branch {
  label: string;
  text: string;
  status: Status | null;
  remark: string;
  notes: string[];
  children: Branch[];
}

/** What one file is, or why it is nothing that can be used. */
export type Recognised =
  | { kind: { kind: Kind; name: string }; error?: undefined }
  | { error: { code: string; message: string; hint: string }; kind?: undefined };

/** What files say (`docs/reference/question.md`): of each its fields by name, and what holds among them. */
export interface Inspection {
  files: (
    | { content: { kind: Kind } & Record<string, unknown>; error?: undefined }
    | { error: { code: string; message: string; hint: string }; content?: undefined }
  )[];
  checks: Record<string, boolean | string>;
}

/** Why there is nothing to judge. Evidence that is not good enough is an answer, not an error. */
export class CasemateError extends Error {
  readonly code: string;
  readonly hint: string;
  constructor(problem: { code: string; message: string; hint: string });
}

/** The verifier. Make one with `load`. */
export class Casemate {
  constructor(module: WebAssembly.Module);
  /** Judges files, and says why. Throws CasemateError if there is nothing to judge. */
  verify(files: Iterable<File> & ArrayLike<File>, question: Question): Answer;
  /** Says of each file what it is. */
  recognise(files: Iterable<File> & ArrayLike<File>): Recognised[];
  /** Says of each file what stands in it, and what holds among them; judges nothing. `at` is now, if left out. */
  inspect(files: Iterable<File> & ArrayLike<File>, when?: { at?: Date | number }): Inspection;
  /** Policies to start from: `hardware_only` accepts any image and workload, `example` what you expect. */
  policies(): { hardware_only: string; example: string };
}

/** Starts the verifier; without an argument from `casemate.wasm` beside this file. */
export function load(
  source?: URL | string | BufferSource | Response | WebAssembly.Module | Promise<Response>,
): Promise<Casemate>;
