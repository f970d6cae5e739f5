//! Recorded evidence, as every client is asked about it: what `inspect` says of each vector is what its `expected` and
//! its `fields` state, by the table in `client/vectors.json` that JavaScript, the page and Python read as well.
//!
//! The vectors are not part of the project; `CASEMATE_VECTORS` names their folder.

#[path = "../../verify/tests/vector/folders.rs"]
mod folders;

use std::path::Path;

use casemate_crypto::{AwsLc, Provider, RustCrypto};
use casemate_intake::{File, Sorted, call};
use folders::{Vector, root, vectors};
use serde_json::{Map, Value, json};

const BACK_ENDS: [&dyn Provider; 2] = [&AwsLc, &RustCrypto];
/// Where a vector names no time: any, at which most certificates hold.
const SOME_TIME_MS: u64 = 1_735_689_600_000;

#[test]
fn vectors_say_what_they_state_when_inspected() {
    let table = table();
    let mut wrong = Vec::new();
    for kind in kinds() {
        if table["not_asked"].get(&kind).is_some() {
            continue;
        }
        let rules =
            table["kinds"].get(&kind).unwrap_or_else(|| panic!("client/vectors.json has no kind {kind}"));
        for vector in vectors(&kind) {
            let faults = Inspected::open(&vector, rules, &table).check();
            wrong.extend(faults.into_iter().map(|fault| format!("{kind}/{}: {fault}", vector.name)));
        }
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every kind that there are vectors of.
fn kinds() -> Vec<String> {
    let Ok(listing) = std::fs::read_dir(root()) else {
        assert!(std::env::var_os("CI").is_none(), "no vectors in {}; CI needs them", root().display());
        eprintln!("NOT RUN: no vectors in {}; set CASEMATE_VECTORS", root().display());
        return Vec::new();
    };
    let entries = listing.map(|entry| entry.expect("a folder of vectors can be listed"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn table() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../client/vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the table is there"))
        .expect("the table is JSON")
}

/// A vector with all its files, and what the table says of its kind.
struct Inspected<'a> {
    json: &'a Value,
    files: Vec<(&'a str, Vec<u8>)>,
    rules: &'a Value,
    table: &'a Value,
}

impl<'a> Inspected<'a> {
    fn open(vector: &'a Vector, rules: &'a Value, table: &'a Value) -> Self {
        let names = vector.json["files"].as_object().expect("a vector lists its files").keys();
        let read = |name: &'a String| {
            (name.as_str(), std::fs::read(vector.folder.join(name)).expect("a file of the vector"))
        };
        let files: Vec<_> = names.map(read).filter(|(_, bytes)| !bytes.is_empty()).collect();
        assert!(files.len() <= Sorted::MAXIMUM_FILES);
        Self { json: &vector.json, files, rules, table }
    }

    /// What is not as stated.
    fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let expected = &self.json["expected"];
        let times = self.times();
        let everything = self.inspect(times[0].0);
        let fields = &self.table["fields"][self.rules["fields"].as_str().expect("a kind has fields")];
        let comparison = Comparison { root: &everything, table: self.table };
        comparison.compare(&self.json["fields"], fields, &everything, "fields", &mut wrong);
        for (name, spec) in self.rules["expected"].as_object().into_iter().flatten() {
            if let Some(stated) = expected.get(name) {
                comparison.compare(stated, spec, &everything, name, &mut wrong);
            }
        }
        let result = expected["result"].as_str().expect("a vector expects a result");
        match self.rules["results"].get(result) {
            Some(Value::Object(claims)) => {
                for (path, claim) in claims {
                    let claim = match claim.as_str().and_then(|text| text.strip_prefix('=')) {
                        Some(name) => expected[name].clone(),
                        None => claim.clone(),
                    };
                    comparison.compare(&claim, &json!(path), &everything, path, &mut wrong);
                }
            }
            Some(Value::String(meaning)) if meaning == "path" => {
                for (at_ms, holds) in times {
                    let found = self.inspect(at_ms);
                    let leaves = Comparison { root: &found, table: self.table }
                        .find(self.rules["leaves"].as_str().expect("certificates"), &found);
                    let leaves = match leaves {
                        Value::Array(leaves) => leaves,
                        Value::Null => Vec::new(),
                        one => vec![one],
                    };
                    let good = |leaf: &Value| leaf["path"]["root"].is_string();
                    if leaves.is_empty() || leaves.iter().any(|leaf| good(leaf) != holds) {
                        wrong.push(format!("paths at {at_ms}: expected {holds}, found {}", paths(&leaves)));
                    }
                }
            }
            // Judged with a policy: by the tests of core/verify with both back ends, and by those of the clients.
            Some(Value::String(_)) => {}
            _ => wrong.push(format!("client/vectors.json does not say what {result} means")),
        }
        wrong
    }

    /// When to ask, and whether the paths of certificates hold then.
    fn times(&self) -> Vec<(u64, bool)> {
        let at = |name: &str| self.json["expected"][name].as_str().map(unix_ms);
        match (at("valid_from"), at("valid_until")) {
            (Some(start), Some(end)) => vec![
                (start, true),
                (start + (end - start) / 2, true),
                (end, true),
                (start - 1000, false),
                (end + 1000, false),
            ],
            _ => vec![(SOME_TIME_MS, true)],
        }
    }

    /// What `inspect` says of all files: each by its name, what holds among them, and the kind's names. Both back ends
    /// say the same.
    fn inspect(&self, at_ms: u64) -> Value {
        let request = json!({ "inspect": { "at_ms": at_ms } }).to_string();
        let files: Vec<File<'_>> = self.files.iter().map(|(name, bytes)| File { name, bytes }).collect();
        let [one, other] = BACK_ENDS.map(|provider| call(request.as_bytes(), &files, provider));
        assert_eq!(one, other, "the back ends disagree");
        let reply: Value = serde_json::from_str(&one).expect("a reply is JSON");
        let inspection = reply.get("inspection").unwrap_or_else(|| panic!("{reply}"));
        let described: Vec<&Value> = inspection["files"].as_array().expect("files").iter().collect();
        let mut all = Map::from_iter([("checks".to_owned(), inspection["checks"].clone())]);
        let contents = || described.iter().filter_map(|file| file.get("content"));
        let certificates = contents().filter_map(|content| content["certificates"].as_array()).flatten();
        all.insert("certificates".to_owned(), certificates.cloned().collect());
        let lists = contents().filter(|content| content["kind"] == "revocation_list");
        all.insert("lists".to_owned(), lists.cloned().collect());
        for ((name, _), file) in self.files.iter().zip(&described) {
            all.insert((*name).to_owned(), file.get("content").unwrap_or(file).clone());
        }
        let root = Value::Object(all.clone());
        for (name, path) in self.rules["names"].as_object().into_iter().flatten() {
            let named =
                Comparison { root: &root, table: self.table }.find(path.as_str().expect("a path"), &root);
            all.insert(name.clone(), named);
        }
        Value::Object(all)
    }
}

fn paths(leaves: &[Value]) -> String {
    leaves.iter().map(|leaf| leaf["path"].to_string()).collect::<Vec<_>>().join(", ")
}

/// The language of the table, as its `about_fields` explains it.
struct Comparison<'a> {
    root: &'a Value,
    table: &'a Value,
}

impl Comparison<'_> {
    fn compare(&self, stated: &Value, spec: &Value, here: &Value, at: &str, wrong: &mut Vec<String>) {
        let mut expect = |found: Value, stated: Value| {
            if found != stated {
                wrong.push(format!("{at}: found {found}, stated {stated}"));
            }
        };
        match spec {
            Value::Null => {}
            Value::String(path) => expect(self.find(path, here), self.spelled(stated)),
            Value::Array(specs) => match stated.as_array() {
                Some(list) if list.len() == specs.len() => {
                    for (index, (stated, spec)) in list.iter().zip(specs).enumerate() {
                        self.compare(stated, spec, here, &format!("{at}/{index}"), wrong);
                    }
                }
                _ => wrong.push(format!("{at}: {stated} is no list of {}", specs.len())),
            },
            Value::Object(form) => {
                if let Some(path) = form.get("where_known") {
                    let found = self.find(text(path), here);
                    if !found.is_null() {
                        expect(found, self.spelled(stated));
                    }
                } else if let Some(Value::Array(pair)) = form.get("is") {
                    expect(json!(self.find(text(&pair[0]), here) == pair[1]), json!(truth(stated)));
                } else if let Some(Value::Array(pair)) = form.get("same") {
                    let [one, other] = [0, 1].map(|index| self.find(text(&pair[index]), here));
                    expect(json!(!one.is_null() && one == other), stated.clone());
                } else if let Some(Value::Array(paths)) = form.get("all") {
                    let holds = |path| self.find(text(path), here) == json!(true);
                    expect(json!(paths.iter().all(holds)), stated.clone());
                } else if let Some(path) = form.get("begins") {
                    let found = self.find(text(path), here);
                    match (found.as_str(), text(stated).strip_suffix("...")) {
                        (Some(found), Some(start)) => expect(json!(found.starts_with(start)), json!(true)),
                        _ => expect(found, stated.clone()),
                    }
                } else if let Some(path) = form.get("each") {
                    let found = self.find(text(path), here);
                    let (found, stated) = (found.as_array().cloned().unwrap_or_default(), stated.as_array());
                    let stated = stated.cloned().unwrap_or_default();
                    if found.len() != stated.len() {
                        return wrong.push(format!("{at}: {} found, {} stated", found.len(), stated.len()));
                    }
                    for (index, (found, stated)) in found.iter().zip(&stated).enumerate() {
                        self.compare(stated, &form["as"], found, &format!("{at}/{index}"), wrong);
                    }
                } else {
                    for (name, stated) in stated.as_object().into_iter().flatten() {
                        match form.get(name).cloned().or_else(|| form.get("*").map(|spec| filled(spec, name)))
                        {
                            Some(spec) => self.compare(stated, &spec, here, &format!("{at}/{name}"), wrong),
                            None => wrong.push(format!("{at}/{name} is not in client/vectors.json")),
                        }
                    }
                }
            }
            other => panic!("client/vectors.json: {other}"),
        }
    }

    /// What stands at a path; null if nothing does.
    fn find(&self, path: &str, here: &Value) -> Value {
        let one = |path: &str| {
            let (start, path) = match path.strip_prefix('/') {
                Some(path) => (self.root, path),
                None => (here, path),
            };
            path.split('/').fold(start.clone(), |found, step| part(&found, step))
        };
        path.split('|').map(one).find(|found| !found.is_null()).unwrap_or(Value::Null)
    }

    /// The vectors' word in ours; times end in Z.
    fn spelled(&self, stated: &Value) -> Value {
        match stated {
            Value::String(text) => match self.table["spelled"].get(text) {
                Some(ours) => ours.clone(),
                None => {
                    let written = self.table["written"].as_object().into_iter().flatten();
                    let text = written.fold(text.clone(), |text, (theirs, ours)| {
                        text.replace(theirs, ours.as_str().expect("client/vectors.json: a text"))
                    });
                    json!(text.strip_suffix("+00:00").map_or(text.clone(), |time| format!("{time}Z")))
                }
            },
            other => other.clone(),
        }
    }
}

fn part(value: &Value, step: &str) -> Value {
    match (value, step.parse::<usize>()) {
        (Value::Object(members), _) => members.get(step).cloned().unwrap_or(Value::Null),
        (Value::Array(list), _) if step == "length" => json!(list.len()),
        (Value::Array(list), _) if step == "last" => list.last().cloned().unwrap_or(Value::Null),
        (Value::Array(list), Ok(index)) => list.get(index).cloned().unwrap_or(Value::Null),
        (Value::String(digits), _) if step == "0x" => json!(format!("0x{}", digits.trim_start_matches('0'))),
        (Value::String(text), Ok(index)) => {
            json!(text.split('.').nth(index).and_then(|number| number.parse::<u64>().ok()))
        }
        _ => match step.strip_prefix("le").and_then(|bytes| bytes.parse::<usize>().ok()) {
            Some(bytes) => little_endian(value, bytes),
            None => Value::Null,
        },
    }
}

fn little_endian(value: &Value, bytes: usize) -> Value {
    let number = match value {
        Value::String(text) => {
            text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok())
        }
        other => other.as_u64(),
    };
    json!(number.map(|number| {
        number.to_le_bytes()[..bytes].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    }))
}

/// A spec for every other name, with the name in it.
fn filled(spec: &Value, name: &str) -> Value {
    match spec {
        Value::String(path) => json!(path.replace('*', name)),
        Value::Object(form) => form.iter().map(|(key, spec)| (key.clone(), filled(spec, name))).collect(),
        other => other.clone(),
    }
}

fn truth(stated: &Value) -> bool {
    !(stated.is_null() || *stated == json!(false) || *stated == json!(0) || *stated == json!(""))
}

fn text(value: &Value) -> &str {
    value.as_str().expect("client/vectors.json: a path is a text")
}

fn unix_ms(text: &str) -> u64 {
    let text = text.strip_suffix("+00:00").expect("times of vectors are in UTC");
    let time: der::DateTime = format!("{text}Z").parse().expect("an RFC 3339 time");
    u64::try_from(time.unix_duration().as_millis()).expect("a time after 1970")
}
