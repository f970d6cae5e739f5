//! What does QEMU say about the machine, and what is it told?
//!
//! QEMU Machine Protocol over a Unix socket: one JSON value per line, greeting, capabilities, then
//! commands and events (QEMU docs/interop/qmp-spec.rst). QEMU has parsed hostile devices, so its
//! answers are bounded too.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use crate::error::{Blame, Explain};

/// Why QEMU was not heard.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// No connection.
    #[error("cannot reach QEMU's control socket: {0}")]
    Connect(#[source] io::Error),
    /// It did not begin as QMP does.
    #[error("QEMU's control socket does not speak QMP")]
    Greeting,
    /// No answer in time.
    #[error("QEMU did not answer {command} within {timeout_ms} ms")]
    TimedOut {
        /// The command.
        command: &'static str,
        /// How long was waited, in milliseconds.
        timeout_ms: u64,
    },
    /// It refused.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The command.
        command: &'static str,
        /// QEMU's words.
        description: String,
    },
    /// The connection ended.
    #[error("QEMU closed its control socket")]
    Closed,
}

impl Explain for QmpError {
    fn explain(&self) -> (&'static str, Blame, &'static str) {
        ("qemu_silent", Blame::Host, "look at GET /v1/vms/{id}; `kill` ends a QEMU that hangs")
    }
}

/// Something that happened to the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is about to end.
    Shutdown {
        /// True if the guest did it.
        by_guest: bool,
        /// QEMU's word for it, such as `guest-shutdown` or `guest-reset`.
        reason: String,
    },
    /// The guest reported a kernel panic.
    Panicked,
    /// A disk request failed.
    DiskFailed {
        /// Whether for want of room.
        no_space: bool,
    },
}

/// A connection to one QEMU. Commands wait for each other; events wait in a bounded queue.
pub struct Qmp {
    commands: mpsc::Sender<Command>,
}

struct Command {
    line: Vec<u8>,
    answer: oneshot::Sender<Result<Value, String>>,
}

/// Where the instruction pointer of the first processor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers {
    /// RIP.
    pub instruction_pointer: u64,
    /// Whether it waits for an interrupt.
    pub halted: bool,
}

impl Qmp {
    /// Connects, trying again while QEMU is still starting.
    ///
    /// # Errors
    /// [`QmpError::Connect`], [`QmpError::Greeting`], [`QmpError::Closed`].
    pub async fn connect(
        socket: &Path,
        patience: Duration,
    ) -> Result<(Self, mpsc::Receiver<Event>), QmpError> {
        let deadline = tokio::time::Instant::now() + patience;
        let stream = loop {
            match UnixStream::connect(socket).await {
                Ok(stream) => break stream,
                Err(error) if tokio::time::Instant::now() > deadline => return Err(QmpError::Connect(error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let (reader, writer) = stream.into_split();
        let mut lines = Lines { reader: BufReader::new(reader) };
        let greeting = tokio::time::timeout(GREETING_TIME, lines.next()).await;
        let greeting = greeting.map_err(|_| QmpError::Greeting)??;
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Greeting);
        }
        let (commands, waiting) = mpsc::channel(16);
        let (events, happened) = mpsc::channel(64);
        tokio::spawn(converse(lines, writer, waiting, events));
        let qmp = Self { commands };
        qmp.execute("qmp_capabilities", Value::Null).await?;
        Ok((qmp, happened))
    }

    /// True while the guest's processors are meant to run.
    ///
    /// # Errors
    /// [`QmpError::TimedOut`], [`QmpError::Refused`], [`QmpError::Closed`].
    pub async fn is_running(&self) -> Result<bool, QmpError> {
        let status = self.execute("query-status", Value::Null).await?;
        Ok(status.get("running").and_then(Value::as_bool).unwrap_or(false))
    }

    /// Presses the power button.
    ///
    /// # Errors
    /// As [`is_running`](Self::is_running).
    pub async fn press_power_button(&self) -> Result<(), QmpError> {
        self.execute("system_powerdown", Value::Null).await.map(drop)
    }

    /// Ends QEMU.
    ///
    /// # Errors
    /// As [`is_running`](Self::is_running).
    pub async fn quit(&self) -> Result<(), QmpError> {
        self.execute("quit", Value::Null).await.map(drop)
    }

    /// Reads the first processor's registers, where the platform lets a host do so.
    ///
    /// # Errors
    /// As [`is_running`](Self::is_running).
    pub async fn registers(&self) -> Result<Option<Registers>, QmpError> {
        let arguments = json!({"command-line": "info registers"});
        let text = self.execute("human-monitor-command", arguments).await?;
        Ok(parse_registers(text.as_str().unwrap_or_default()))
    }

    async fn execute(&self, command: &'static str, arguments: Value) -> Result<Value, QmpError> {
        let mut line = json!({"execute": command});
        if !arguments.is_null() {
            line["arguments"] = arguments;
        }
        let (answer, answered) = oneshot::channel();
        let command_line = Command { line: format!("{line}\n").into_bytes(), answer };
        let exchange = async {
            self.commands.send(command_line).await.map_err(|_| QmpError::Closed)?;
            let result = answered.await.map_err(|_| QmpError::Closed)?;
            result.map_err(|description| QmpError::Refused { command, description })
        };
        let late = QmpError::TimedOut { command, timeout_ms: COMMAND_TIME.as_millis() as u64 };
        tokio::time::timeout(COMMAND_TIME, exchange).await.unwrap_or(Err(late))
    }
}

const GREETING_TIME: Duration = Duration::from_secs(10);
const COMMAND_TIME: Duration = Duration::from_secs(10);
const MAXIMUM_LINE_BYTES: u64 = 1 << 20;

async fn converse(
    lines: Lines,
    mut writer: OwnedWriteHalf,
    mut commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
) {
    // QEMU answers in order, and only commands that were sent.
    let open = Mutex::new(VecDeque::new());
    let write = async {
        while let Some(Command { line, answer }) = commands.recv().await {
            open.lock().expect("nothing panics while holding it").push_back(answer);
            if writer.write_all(&line).await.is_err() {
                return;
            }
        }
    };
    let read = async {
        let mut lines = lines;
        while let Ok(value) = lines.next().await {
            if let Some(event) = parse_event(&value) {
                let _ = events.try_send(event);
                continue;
            }
            let answer = match (value.get("return"), value.pointer("/error/desc")) {
                (Some(result), _) => Ok(result.clone()),
                (None, Some(description)) => Err(description.as_str().unwrap_or_default().to_owned()),
                (None, None) => continue,
            };
            let caller: Option<oneshot::Sender<_>> =
                open.lock().expect("nothing panics while holding it").pop_front();
            if let Some(caller) = caller {
                let _ = caller.send(answer);
            }
        }
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

struct Lines {
    reader: BufReader<OwnedReadHalf>,
}

impl Lines {
    async fn next(&mut self) -> Result<Value, QmpError> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(MAXIMUM_LINE_BYTES);
        let length = limited.read_until(b'\n', &mut line).await.map_err(|_| QmpError::Closed)?;
        if length == 0 || !line.ends_with(b"\n") {
            return Err(QmpError::Closed);
        }
        serde_json::from_slice(&line).map_err(|_| QmpError::Greeting)
    }
}

fn parse_event(value: &Value) -> Option<Event> {
    let data = |pointer: &str| value.pointer(pointer);
    match value.get("event")?.as_str()? {
        "SHUTDOWN" => Some(Event::Shutdown {
            by_guest: data("/data/guest").and_then(Value::as_bool).unwrap_or(false),
            reason: data("/data/reason").and_then(Value::as_str).unwrap_or("unknown").to_owned(),
        }),
        "GUEST_PANICKED" => Some(Event::Panicked),
        // QEMU leaves `nospace` out where errors are reported to the guest, as here.
        "BLOCK_IO_ERROR" => Some(Event::DiskFailed {
            no_space: data("/data/reason").and_then(Value::as_str) == Some("No space left on device"),
        }),
        _ => None,
    }
}

fn parse_registers(text: &str) -> Option<Registers> {
    let after = |name: &str| {
        let (_, rest) = text.split_once(name)?;
        rest.split(|character: char| !character.is_ascii_hexdigit()).next()
    };
    let pointer = after("RIP=").or_else(|| after("EIP="))?;
    Some(Registers {
        instruction_pointer: u64::from_str_radix(pointer, 16).ok()?,
        halted: after("HLT=") == Some("1"),
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[test]
    fn registers_are_read_in_every_mode() {
        let text =
            "CPU#0\nRAX=00 RBX=1\nRIP=000000007ec6c148 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\n";
        assert_eq!(
            parse_registers(text),
            Some(Registers { instruction_pointer: 0x7ec6_c148, halted: false })
        );
        assert!(parse_registers("EIP=0000fff0 EFL=2 HLT=1").unwrap().halted);
        assert_eq!(parse_registers("no registers of an encrypted guest"), None);
    }

    #[tokio::test]
    async fn commands_events_and_refusals_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut reader = BufReader::new(reader);
            writer.write_all(b"{\"QMP\": {}}\n").await.unwrap();
            for answer in [
                "{\"return\": {}}\n",
                "{\"event\": \"SHUTDOWN\", \"data\": {\"guest\": true, \"reason\": \"guest-reset\"}}\n{\"return\": {\"running\": true}}\n",
                "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
            ] {
                let mut line = String::new();
                reader.read_line(&mut line).await.unwrap();
                writer.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let (qmp, mut events) = Qmp::connect(&path, Duration::from_secs(5)).await.unwrap();
        assert!(qmp.is_running().await.unwrap());
        let shutdown = Event::Shutdown { by_guest: true, reason: "guest-reset".into() };
        assert_eq!(events.recv().await.unwrap(), shutdown);
        let refused = qmp.press_power_button().await.unwrap_err();
        assert!(matches!(refused, QmpError::Refused { command: "system_powerdown", .. }));
        assert!(matches!(qmp.quit().await, Err(QmpError::Closed)));
    }

    #[tokio::test]
    async fn silence_and_other_protocols_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp.sock");
        let absent = Qmp::connect(&path, Duration::from_millis(50)).await;
        assert!(matches!(absent, Err(QmpError::Connect(_))));
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\n").await.unwrap();
        });
        assert!(matches!(Qmp::connect(&path, Duration::from_secs(5)).await, Err(QmpError::Greeting)));
    }
}
