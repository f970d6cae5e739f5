// What `inspect` says of a vector, beside what the vector states: the language of client/vectors.json, as its
// `about_fields` explains it.

/** What is not as `vector` states, at time `at`; `inspection` is of all its files, `names` what they are called. */
export function faults({ json, rules, table }, names, inspection, { at, holds }) {
  const root = everything(names, inspection, rules);
  const wrong = [];
  const compare = comparer(root, table, wrong);
  const stated = json.expected;
  const claims = rules.results[stated.result];
  if (claims === "path") {
    const leaves = [find(rules.leaves, root, root) ?? []].flat();
    const good = leaves.map((leaf) => typeof leaf.path?.root === "string");
    if (good.length === 0 || good.some((one) => one !== holds)) wrong.push(`paths at ${at}: ${JSON.stringify(leaves.map((leaf) => leaf.path))}`);
  }
  if (!holds) return wrong;
  compare(json.fields, table.fields[rules.fields], root, "fields");
  for (const [name, spec] of Object.entries(rules.expected ?? {})) {
    if (name in stated) compare(stated[name], spec, root, name);
  }
  if (typeof claims === "object") {
    for (const [path, claim] of Object.entries(claims)) {
      const asStated = typeof claim === "string" && claim.startsWith("=");
      compare(asStated ? stated[claim.slice(1)] : claim, path, root, path);
    }
  }
  return wrong;
}

/** Each file by its name, what holds among them, and the kind's names. */
function everything(names, { files, checks }, rules) {
  const contents = files.flatMap(({ content }) => content ?? []);
  const root = {
    checks,
    certificates: contents.flatMap(({ certificates }) => certificates ?? []),
    lists: contents.filter(({ kind }) => kind === "revocation_list"),
  };
  files.forEach((file, index) => (root[names[index]] = file.content ?? file));
  const files_only = { ...root };
  for (const [name, path] of Object.entries(rules.names ?? {})) root[name] = find(path, files_only, files_only);
  return root;
}

function comparer(root, table, wrong) {
  const expect = (found, stated, at) => {
    if (!same(found, stated)) wrong.push(`${at}: found ${JSON.stringify(found)}, stated ${JSON.stringify(stated)}`);
  };
  const spelled = (stated) => {
    if (typeof stated !== "string") return stated;
    if (stated in table.spelled) return table.spelled[stated];
    const written = Object.entries(table.written).reduce((text, [theirs, ours]) => text.replaceAll(theirs, ours), stated);
    return written.replace(/\+00:00$/, "Z");
  };
  return function compare(stated, spec, here, at) {
    if (spec === null) return;
    const value = (path) => find(path, here, root);
    if (typeof spec === "string") return expect(value(spec), spelled(stated), at);
    if (Array.isArray(spec)) {
      if (stated?.length !== spec.length) return wrong.push(`${at}: ${JSON.stringify(stated)} is no list of ${spec.length}`);
      return spec.forEach((one, index) => compare(stated[index], one, here, `${at}/${index}`));
    }
    if (spec.where_known !== undefined) {
      const found = value(spec.where_known);
      return found === null || expect(found, spelled(stated), at);
    }
    if (spec.is) return expect(same(value(spec.is[0]), spec.is[1]), Boolean(stated), at);
    if (spec.same) return expect(value(spec.same[0]) !== null && same(...spec.same.map(value)), stated, at);
    if (spec.all) return expect(spec.all.every((path) => value(path) === true), stated, at);
    if (spec.begins) {
      const found = value(spec.begins);
      const cut = stated.endsWith("...") && typeof found === "string";
      return cut ? expect(found.startsWith(stated.slice(0, -3)), true, at) : expect(found, stated, at);
    }
    if (spec.each) {
      const found = value(spec.each) ?? [];
      if (found.length !== stated.length) return wrong.push(`${at}: ${found.length} found, ${stated.length} stated`);
      return found.forEach((one, index) => compare(stated[index], spec.as, one, `${at}/${index}`));
    }
    for (const [name, one] of Object.entries(stated)) {
      if (name in spec) compare(one, spec[name], here, `${at}/${name}`);
      else if ("*" in spec) compare(one, filled(spec["*"], name), here, `${at}/${name}`);
      else wrong.push(`${at}/${name} is not in client/vectors.json`);
    }
  };
}

/** A spec for every other name, with the name in it. */
function filled(spec, name) {
  if (typeof spec === "string") return spec.replaceAll("*", name);
  return Object.fromEntries(Object.entries(spec).map(([key, one]) => [key, filled(one, name)]));
}

/** What stands at a path; null if nothing does. */
function find(paths, here, root) {
  for (const path of paths.split("|")) {
    const steps = path.startsWith("/") ? path.slice(1) : path;
    const found = steps.split("/").reduce(part, path.startsWith("/") ? root : here);
    if (found !== null) return found;
  }
  return null;
}

function part(value, step) {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value) && step === "last") return value.at(-1) ?? null;
  if (typeof value === "object") return value[step] ?? null;
  if (step === "0x" && typeof value === "string") return `0x${value.replace(/^0+/, "")}`;
  if (/^\d+$/.test(step)) return typeof value === "string" ? Number(value.split(".")[step]) : null;
  if (!step.startsWith("le")) return null;
  let number = BigInt(value);
  return Array.from({ length: Number(step.slice(2)) }, () => {
    const byte = Number(number & 0xffn).toString(16).padStart(2, "0");
    number >>= 8n;
    return byte;
  }).join("");
}

/** Whether two values of JSON are equal, in whatever order the members of objects stand. */
function same(one, other) {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return one === other;
  const keys = Object.keys(one);
  if (Array.isArray(one) !== Array.isArray(other) || keys.length !== Object.keys(other).length) return false;
  return keys.every((key) => key in other && same(one[key], other[key]));
}
