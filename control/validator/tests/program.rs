//! What does the program let its callers do, by its arguments?

mod house;

use std::process::{Command, Stdio};

use house::{Client, House, spec};
use serde_json::json;

/// A validator that is named to others is started without the argument that a machine's own gets.
#[tokio::test]
async fn a_validator_takes_paths_of_images_only_if_it_was_started_so() {
    let house = House::new().await;
    for (arguments, expected) in [(&[][..], 422), (&["--accept-image-paths"][..], 200)] {
        let socket = house.folder.path().join(format!("{expected}.sock"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_casemate-validator"))
            .arg("serve")
            .arg("--state")
            .arg(house.folder.path().join(format!("state{expected}")))
            .args(["--listen", &format!("unix:{}", socket.display()), "--host", &house.options.host])
            .args(["--seat", &house.options.seats[0]])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut listens = false;
        for _ in 0..500 {
            listens = tokio::net::UnixStream::connect(&socket).await.is_ok();
            if listens {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let mut body = spec("notes");
        body["image"] = json!("/srv/images/lite");
        let answer = match listens {
            true => Some(Client::new(&socket).call("POST", "/v1/vms", Some(body)).await),
            false => None,
        };
        child.kill().unwrap();
        child.wait().unwrap();
        let (status, answer) = answer.expect("the validator listens");
        assert_eq!(status, expected, "{arguments:?}: {answer}");
        if expected == 422 {
            assert!(answer["message"].as_str().unwrap().contains("paths are not taken here"), "{answer}");
        }
    }
}
