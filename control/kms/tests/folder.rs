//! Is a seat's folder whole or not there at all, and does a seat refuse to start on anything less?

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use casemate_kms::{Error, Standing, State, StateFolder, back_up, check, restore};
use casemate_verify::Policy;
use getrandom::SysRng;
use rand_core::UnwrapErr;
use sqlx::{Connection as _, Row as _, SqliteConnection};

const NEEDED: [&str; 4] = ["floor-policy.toml", "roster.cbor", "seat.keys", "state.db"];

/// A scratch folder with a floor policy.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        let scratch = Scratch(tempfile::tempdir().unwrap());
        fs::write(scratch.path("floor.toml"), Policy::example(&[])).unwrap();
        scratch
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A seat that was just born.
    fn born(&self, name: &str) -> PathBuf {
        let state = self.path(name);
        StateFolder::create(&state, &Policy::example(&[]), &mut UnwrapErr(SysRng)).unwrap();
        state
    }

    fn init(&self, name: &str) -> Command {
        let mut command = program();
        command.arg("init").arg("--state").arg(self.path(name));
        command.arg("--floor-policy").arg(self.path("floor.toml"));
        command
    }

    /// Why a seat does not start.
    fn serve(&self, state: &Path) -> String {
        let mut child = self.start(state);
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the seat did not refuse to start");
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    }

    fn start(&self, state: &Path) -> Child {
        let listen = format!("unix:{}", self.path("seat.sock").display());
        let mut command = program();
        command.args(["serve", "--offline", "--listen", &listen]).arg("--state").arg(state);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Starts a seat, which must come up, and kills it.
    fn serve_and_kill(&self, state: &Path) {
        let socket = self.path("seat.sock");
        let _ = fs::remove_file(&socket);
        let mut child = self.start(state);
        let deadline = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(
                Instant::now() < deadline && child.try_wait().unwrap().is_none(),
                "the seat does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_casemate-kms"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `check --json` as people call it: its exit code and its answer.
fn checked(state: &Path) -> (i32, serde_json::Value) {
    let Output { status, stdout, .. } = program().args(["check", "--json"]).arg(state).output().unwrap();
    (status.code().unwrap(), serde_json::from_slice(&stdout).unwrap())
}

/// What is wrong with a folder, one line each.
fn wrongs(state: &Path) -> String {
    let report = check(state).unwrap();
    let wrong = report.findings.iter().filter(|finding| finding.state == State::Wrong);
    wrong.map(|finding| format!("{}: {}\n", finding.file, finding.found)).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_birth_is_whole_and_says_so() {
    let scratch = Scratch::new();
    let output = scratch.init("seat").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let state = scratch.path("seat");
    let (code, report) = checked(&state);
    assert_eq!((code, &report["standing"]), (0, &"whole".into()), "{report:#}");
    for name in NEEDED {
        let named = |finding: &&serde_json::Value| finding["file"] == name;
        let finding = report["findings"].as_array().unwrap().iter().find(named).unwrap();
        assert_eq!(finding["state"], "right", "{finding}");
    }
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(state.join("state.db")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!scratch.path("seat.unfinished").exists());
    // Reading changed nothing: no journal came to be, and a seat starts.
    assert!(
        !state.join("state.db-journal").exists()
            || fs::metadata(state.join("state.db-journal")).unwrap().len() == 0
    );
    scratch.serve_and_kill(&state);
    assert_eq!(checked(&state).0, 0);
    // A second birth forgets nothing.
    let keys = fs::read(state.join("seat.keys")).unwrap();
    let again = scratch.init("seat").output().unwrap();
    assert!(!again.status.success() && text(&again.stderr).contains("a second birth would forget every key"));
    assert_eq!(fs::read(state.join("seat.keys")).unwrap(), keys);
}

/// Kills at moments spread over a birth, and as soon as each file is there.
#[test]
fn a_birth_that_is_killed_leaves_nothing_or_everything() {
    let scratch = Scratch::new();
    let began = Instant::now();
    assert!(scratch.init("measure").output().unwrap().status.success());
    let whole_birth = began.elapsed();
    let places =
        ["operators.key", "floor-policy.toml", "roster.cbor", "seat.keys", "state.db", "state.db-journal"];
    let mut seen = [0; 2];
    for attempt in 0..72_u32 {
        let name = format!("seat{attempt}");
        let (state, unfinished) = (scratch.path(&name), scratch.path(&format!("{name}.unfinished")));
        let mut child = scratch.init(&name).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        match places.get(attempt as usize % 12) {
            Some(file) => {
                let file = unfinished.join(file);
                while !file.exists() && child.try_wait().unwrap().is_none() {
                    std::hint::spin_loop();
                }
            }
            None => std::thread::sleep(whole_birth * attempt / 60),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (code, report) = checked(&state);
        match code {
            0 => {
                seen[0] += 1;
                let again = scratch.init(&name).output().unwrap();
                assert!(text(&again.stderr).contains("exists already"), "{}", text(&again.stderr));
                scratch.serve_and_kill(&state);
            }
            4 => {
                seen[1] += 1;
                assert!(!state.exists(), "{report:#}");
                let interrupted = unfinished.exists();
                let why = scratch.serve(&state);
                assert!(why.contains("no seat was born") && why.contains("casemate-kms init"), "{why}");
                assert_eq!(why.contains("a birth that was interrupted"), interrupted, "{why}");
                let again = scratch.init(&name).output().unwrap();
                assert!(again.status.success(), "{}", text(&again.stderr));
                let said = text(&again.stderr).contains("was interrupted; what it left is removed");
                assert_eq!(said, interrupted, "{}", text(&again.stderr));
            }
            _ => panic!("killed at {attempt}: neither nothing nor everything: {report:#}"),
        }
        assert_eq!(checked(&state).0, 0);
        assert!(!unfinished.exists());
    }
    assert!(seen[1] > 10, "whole and unborn: {seen:?}");
}

#[test]
fn an_interrupted_birth_is_named_and_cleared_away() {
    let scratch = Scratch::new();
    let left = scratch.path("seat.unfinished");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("seat.keys"), b"half").unwrap();
    let state = scratch.path("seat");
    let (code, report) = checked(&state);
    assert_eq!(code, 4, "{report:#}");
    assert!(report["findings"][0]["found"].as_str().unwrap().contains("seat.unfinished"), "{report:#}");
    let output = scratch.init("seat").output().unwrap();
    assert!(
        output.status.success() && text(&output.stderr).contains("was interrupted"),
        "{}",
        text(&output.stderr)
    );
    assert!(!left.exists() && checked(&state).0 == 0);
}

#[test]
fn of_births_at_once_one_makes_the_seat() {
    let scratch = Scratch::new();
    for round in 0..5 {
        let name = format!("seat{round}");
        let births: Vec<Child> = (0..4)
            .map(|_| scratch.init(&name).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        let outputs: Vec<Output> =
            births.into_iter().map(|birth| birth.wait_with_output().unwrap()).collect();
        let made: Vec<String> = outputs
            .iter()
            .filter(|output| output.status.success())
            .map(|output| text(&output.stdout))
            .collect();
        assert_eq!(made.len(), 1, "{outputs:?}");
        for refused in outputs.iter().filter(|output| !output.status.success()) {
            let why = text(&refused.stderr);
            assert!(why.contains("exists already") || why.contains("is at work in"), "{why}");
        }
        let chain = StateFolder::open(&scratch.path(&name)).unwrap().chain().unwrap();
        assert_eq!(
            chain.genesis.kms_id().to_string(),
            made[0].trim(),
            "the seat is the one that was announced"
        );
    }
}

#[test]
fn a_birth_takes_an_empty_folder_and_no_other() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).unwrap();
    assert!(scratch.init("empty").output().unwrap().status.success());
    fs::create_dir(scratch.path("used")).unwrap();
    fs::write(scratch.path("used").join("notes"), "mine").unwrap();
    let refused = scratch.init("used").output().unwrap();
    assert!(text(&refused.stderr).contains("holds \"notes\" and no whole seat"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_dir(scratch.path("used")).unwrap().count(), 1);
}

#[test]
fn a_seat_starts_only_where_one_was_born() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path("empty")).unwrap();
    fs::create_dir(scratch.path("other")).unwrap();
    fs::write(scratch.path("other").join("notes"), "mine").unwrap();
    for (name, found) in
        [("absent", "no such folder"), ("empty", "an empty folder"), ("other", "other files")]
    {
        let state = scratch.path(name);
        let why = scratch.serve(&state);
        assert!(why.contains(&format!("no seat was born in {}: found {found}", state.display())), "{why}");
        assert_eq!(checked(&state).0, 4);
        assert!(!state.join("state.db").exists(), "nothing is made on the way");
    }
}

#[test]
fn each_missing_file_is_named_and_not_made_again() {
    let scratch = Scratch::new();
    let whole = scratch.born("whole");
    scratch.serve_and_kill(&whole);
    for name in NEEDED {
        let state = scratch.path(&format!("without-{name}"));
        copy(&whole, &state);
        fs::remove_file(state.join(name)).unwrap();
        let why = scratch.serve(&state);
        let expected = format!("{} is missing: a seat was born in this folder", state.join(name).display());
        assert!(why.contains(&expected) && why.contains("casemate-kms restore"), "{why}");
        assert!(!state.join(name).exists());
        let (code, report) = checked(&state);
        assert_eq!((code, &report["standing"]), (3, &"damaged".into()), "{report:#}");
        assert!(wrongs(&state).starts_with(&format!("{name}: {expected}")), "{}", wrongs(&state));
        let opened = StateFolder::open(&state).unwrap_err();
        assert!(matches!(opened, Error::Missing { .. }), "{opened}");
    }
}

/// One thing is changed, and exactly that is found by `check` and by a seat that is to start.
#[test]
fn each_damage_is_found() {
    let scratch = Scratch::new();
    let whole = scratch.born("whole");
    let other = scratch.born("other");
    scratch.serve_and_kill(&whole);
    let cut = |name: &'static str| {
        move |state: &Path| {
            let path = state.join(name);
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }
    };
    let open = |name: &'static str| {
        move |state: &Path| fs::set_permissions(state.join(name), Permissions::from_mode(0o644)).unwrap()
    };
    let foreign = |name: &'static str| {
        let other = other.clone();
        move |state: &Path| {
            fs::copy(other.join(name), state.join(name)).unwrap();
        }
    };
    type Damage = Box<dyn Fn(&Path)>;
    let table: [(&str, Damage, &str); 11] = [
        ("state.db", Box::new(|state| fs::write(state.join("state.db"), []).unwrap()), "tables of version 0"),
        ("state.db", Box::new(|state| fs::write(state.join("state.db"), [7; 9000]).unwrap()), "is damaged"),
        ("state.db", Box::new(cut("state.db")), "is damaged"),
        ("state.db", Box::new(foreign("state.db")), "files of two seats were mixed"),
        ("state.db", Box::new(open("state.db")), "has mode 644, expected 600"),
        ("seat.keys", Box::new(open("seat.keys")), "has mode 644, expected 600"),
        ("seat.keys", Box::new(cut("seat.keys")), "restore it from a backup"),
        ("seat.keys", Box::new(foreign("seat.keys")), ""),
        ("roster.cbor", Box::new(cut("roster.cbor")), ""),
        (
            "floor-policy.toml",
            Box::new(|state| fs::write(state.join("floor-policy.toml"), "x = 1").unwrap()),
            "floor policy",
        ),
        ("state.db", Box::new(newer), "tables of version 9, expected 2"),
    ];
    for (number, (file, damage, expected)) in table.iter().enumerate() {
        let state = scratch.path(&format!("damaged{number}"));
        copy(&whole, &state);
        damage(&state);
        let wrong = wrongs(&state);
        let line =
            wrong.lines().find(|line| line.starts_with(file)).unwrap_or_else(|| panic!("{number}: {wrong}"));
        assert!(line.contains(expected), "{number}: {wrong}");
        assert_eq!(checked(&state).0, 3, "{number}");
        let why = scratch.serve(&state);
        assert!(why.contains(expected), "{number}: {why}");
    }
}

/// Runs statements on a seat's database.
fn sql(state: &Path, statements: &'static str) {
    let path = state.join("state.db");
    let run = async {
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    };
    tokio::runtime::Runtime::new().unwrap().block_on(run);
}

fn newer(state: &Path) {
    sql(state, "pragma user_version = 9");
}

#[test]
fn a_record_that_does_not_read_is_found() {
    let scratch = Scratch::new();
    let state = scratch.born("seat");
    sql(&state, "insert into apps values (zeroblob(32), x'00', x'00', x'')");
    assert!(wrongs(&state).contains("genesis does not read"), "{}", wrongs(&state));
    assert_eq!(checked(&state).0, 3);
}

#[test]
fn a_database_from_before_it_named_its_seat_is_taken_up() {
    let scratch = Scratch::new();
    let state = scratch.born("seat");
    sql(&state, "drop table seat; pragma user_version = 1");
    assert_eq!(check(&state).unwrap().standing, Standing::Whole);
    scratch.serve_and_kill(&state);
    let other = scratch.born("other");
    fs::copy(state.join("state.db"), other.join("state.db")).unwrap();
    assert!(wrongs(&other).contains("files of two seats were mixed"), "{}", wrongs(&other));
}

/// A kill in the middle of a write leaves a journal: what it undoes is not read as if it had happened.
#[test]
fn an_interrupted_write_is_undone_by_a_seat_and_by_a_backup_and_not_by_a_check() {
    let scratch = Scratch::new();
    let state = scratch.born("seat");
    let (killed, saved) = (scratch.path("killed"), scratch.path("saved"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let path = state.join("state.db");
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        // Small enough that pages reach the file before the commit.
        sqlx::raw_sql("pragma cache_size = 1; pragma cache_spill = 1; begin immediate")
            .execute(&mut connection)
            .await
            .unwrap();
        for place in 0..200_u32 {
            sqlx::query(
                "insert into boots (app_id, instance, boot_id) values (zeroblob(9000), zeroblob(16), ?)",
            )
            .bind(place.to_be_bytes().to_vec())
            .execute(&mut connection)
            .await
            .unwrap();
        }
        copy(&state, &killed);
    });
    assert!(fs::metadata(killed.join("state.db-journal")).unwrap().len() > 0);
    assert!(fs::metadata(killed.join("state.db")).unwrap().len() > 500_000, "pages have reached the file");
    copy(&killed, &saved);
    let before = fs::read(killed.join("state.db")).unwrap();
    let report = check(&killed).unwrap();
    assert_eq!(report.standing, Standing::Whole);
    assert!(report.to_string().contains("a seat that starts undoes it"), "{report}");
    assert_eq!(fs::read(killed.join("state.db")).unwrap(), before, "a check writes nothing");

    scratch.serve_and_kill(&killed);
    assert_eq!(boots(&killed), 0);
    let backup =
        back_up(&StateFolder::open(&saved).unwrap(), b"correct horse", &mut UnwrapErr(SysRng)).unwrap();
    let restored = scratch.path("restored");
    restore(&restored, &backup, b"correct horse").unwrap();
    assert_eq!(boots(&restored), 0);
    assert_eq!(checked(&restored).0, 0);
}

fn boots(state: &Path) -> i64 {
    let path = state.join("state.db");
    let count = async {
        let mut connection = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        let row = sqlx::query("select count(*) from boots").fetch_one(&mut connection).await.unwrap();
        row.get::<i64, _>(0)
    };
    tokio::runtime::Runtime::new().unwrap().block_on(count)
}

#[test]
fn a_backup_without_the_database_is_not_made_and_one_that_does_not_fit_is_not_placed() {
    let scratch = Scratch::new();
    let state = scratch.born("seat");
    let folder = StateFolder::open(&state).unwrap();
    fs::remove_file(state.join("state.db")).unwrap();
    assert!(back_up(&folder, b"x", &mut UnwrapErr(SysRng)).is_err());
    assert!(!state.join("state.db").exists());
}
