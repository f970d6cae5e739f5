// Headless Chromium over its debugging pipe: what a test needs of it, and no more.
//
// A driver from npm would be some megabytes and tied to versions of the browser. The few commands used here are
// the stable part of the protocol (https://chromedevtools.github.io/devtools-protocol/1-3/).

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

const LIMIT_MS = 60_000;

/** A browser with one page, in a scratch profile, without a network but to this machine. */
export class Chromium {
  #process;
  #profile;
  #session;
  #waiting = new Map();
  #number = 0;

  /** Addresses that the page asked for, since `open`. */
  requests = [];
  /** Errors and warnings on the page's console, since `open`. */
  complaints = [];

  static async start() {
    const browser = new Chromium();
    browser.#profile = await mkdtemp(join(tmpdir(), "casemate-chromium-"));
    browser.#process = spawn(
      process.env.CASEMATE_CHROMIUM ?? "chromium",
      [
        "--headless=new",
        "--no-sandbox", // tests run as root, also in containers
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
        "--remote-debugging-pipe",
        `--user-data-dir=${browser.#profile}`,
        "about:blank",
      ],
      { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"], env: { ...process.env, TZ: "Asia/Kathmandu" } },
    );
    let stderr = "";
    browser.#process.stderr.on("data", (text) => (stderr = (stderr + text).slice(-4000)));
    browser.#process.on("error", (error) => browser.#fail(error));
    browser.#process.on("exit", (code) => browser.#fail(new Error(`chromium ended with ${code}: ${stderr}`)));
    browser.#listen();
    const { targetInfos } = await browser.#send("Target.getTargets");
    const { targetId } = targetInfos.find((target) => target.type === "page");
    browser.#session = (await browser.#send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
    for (const domain of ["Page", "Runtime", "Network", "DOM", "Log"]) await browser.send(`${domain}.enable`);
    return browser;
  }

  /** One command to the page. */
  send(method, parameters = {}) {
    return this.#send(method, parameters, this.#session);
  }

  /** Goes to an address and waits until `ready` holds there. */
  async open(url, ready = "document.readyState === 'complete'") {
    this.requests = [];
    this.complaints = [];
    await this.send("Page.navigate", { url });
    await this.until(`location.href === ${JSON.stringify(url)} && (${ready})`);
  }

  /** The value of an expression, which may be a promise. */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression holds. */
  async until(expression) {
    const end = Date.now() + LIMIT_MS;
    while (!(await this.evaluate(`Boolean(${expression})`).catch(() => false))) {
      if (Date.now() > end) throw new Error(`waited in vain for ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Chooses files in an input of type file. */
  async choose(selector, paths) {
    const { root } = await this.send("DOM.getDocument");
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector });
    await this.send("DOM.setFileInputFiles", { nodeId, files: paths });
  }

  /** A picture of the page, as PNG. */
  async picture({ width, height, dark = false, scale = 1, clip }) {
    const features = [
      { name: "prefers-color-scheme", value: dark ? "dark" : "light" },
      { name: "prefers-reduced-motion", value: "reduce" },
    ];
    await this.send("Emulation.setEmulatedMedia", { features });
    await this.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: scale, mobile: width < 600 });
    const { data } = await this.send("Page.captureScreenshot", { captureBeyondViewport: true, clip });
    return Buffer.from(data, "base64");
  }

  async stop() {
    this.#process.removeAllListeners("exit");
    const gone = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill();
    await gone;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  #send(method, params = {}, sessionId = undefined) {
    const id = ++this.#number;
    const answer = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method}: no answer in ${LIMIT_MS} ms`)), LIMIT_MS);
      this.#waiting.set(id, { resolve, reject, timer, method });
    });
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return answer;
  }

  #listen() {
    let rest = Buffer.alloc(0);
    this.#process.stdio[3].on("error", (error) => this.#fail(error));
    this.#process.stdio[4].on("data", (data) => {
      rest = Buffer.concat([rest, data]);
      for (let end = rest.indexOf(0); end !== -1; end = rest.indexOf(0)) {
        this.#receive(JSON.parse(rest.subarray(0, end)));
        rest = rest.subarray(end + 1);
      }
    });
  }

  #receive({ id, result, error, method, params }) {
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Runtime.exceptionThrown") this.complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Log.entryAdded" && ["error", "warning"].includes(params.entry.level)) this.complaints.push(params.entry.text);
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(new Error(`${waiting.method}: ${error.message}`));
    else waiting.resolve(result);
  }

  #fail(error) {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }
}
