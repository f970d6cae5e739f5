// What is asked about the evidence: policy, time, expectations.

/** The form's second part. */
export class Question {
  #policies;
  #changed;

  constructor(policies, changed) {
    this.#policies = policies;
    this.#changed = changed;
    const text = document.querySelector("#policy-text");
    text.value = policies.hardware_only;
    for (const choice of document.querySelectorAll("[name=policy]")) {
      choice.addEventListener("change", () => this.#choose(choice.value));
    }
    text.addEventListener("input", () => this.#own());
    const file = document.querySelector("#policy-file");
    file.addEventListener("change", async () => {
      if (!file.files.length) return;
      text.value = await file.files[0].text();
      file.value = "";
      this.#own();
    });
    for (const field of document.querySelectorAll("#expectations input, #at, #simulated")) {
      field.addEventListener("input", changed);
    }
  }

  /** What is asked, as `Casemate.verify` takes it; `challenge` is that of an address that was asked. */
  read(challenge, subject) {
    const value = (id) => document.querySelector(id).value.trim();
    const at = value("#at");
    const measurement = value("#measurement");
    const workload = value("#workload");
    const reportData = value("#report-data");
    const now = Date.now();
    const question = {
      policy: document.querySelector("#policy-text").value,
      at: at ? Date.parse(`${at}Z`) : now,
      acceptSimulated: document.querySelector("#simulated").checked,
      subject: subject ?? "The evidence",
      challenge,
    };
    // What is not shown is not asked.
    if (document.querySelector("#expectations").hidden) return question;
    if (measurement) question.images = [{ image: "the expected image", measurement, source: "entered here" }];
    if (workload) question.workload = { digest: workload, source: "entered here" };
    if (reportData) question.challenge = { reportData, madeAt: question.at };
    return question;
  }

  #choose(choice) {
    if (choice !== "own") document.querySelector("#policy-text").value = this.#policies[choice];
    document.querySelector("#expectations").hidden = choice === "hardware_only";
    if (choice === "own") document.querySelector("#more").open = true;
    this.#changed();
  }

  #own() {
    document.querySelector("[name=policy][value=own]").checked = true;
    document.querySelector("#expectations").hidden = false;
    this.#changed();
  }
}
