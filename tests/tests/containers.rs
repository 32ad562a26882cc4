//! Containers: three servers that answer, and nothing that is left behind, whatever happens (S2).

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ackscope_harness::environment::containers::{
    ContainerImages, Containers, ContainersError, ContainersOptions, Server,
};
use ackscope_tests::docker::{docker, images, of_owner, of_place, place_id, volumes, volumes_of};
use parking_lot::Mutex;

/// Starts are measured, and this process's containers are counted: one test at a time.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const PROGRAM: &str = env!("CARGO_BIN_EXE_ackscope-leaks");

fn options(images: ContainerImages) -> ContainersOptions {
    ContainersOptions { images, ..ContainersOptions::default() }
}

fn own() -> Vec<String> {
    of_owner(std::process::id()).unwrap()
}

/// A process of its own, with a place of its own.
fn program(word: &str, state: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["child", word]).env("XDG_STATE_HOME", state).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn output_of(word: &str, state: &Path) -> Output {
    program(word, state).stderr(Stdio::piped()).output().unwrap()
}

/// A process that has its servers, and the seconds it took.
fn ready(word: &str, state: &Path) -> (Child, f64) {
    let mut child = program(word, state).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let seconds = line.strip_prefix("ready ").and_then(|rest| rest.split(' ').next()).map(str::parse);
    (child, seconds.unwrap_or_else(|| panic!("{line}")).unwrap())
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}

async fn set(url: &str, value: u32) -> redis::RedisResult<()> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("SET").arg("number").arg(value).query_async(&mut connection).await
}

async fn insert(uri: &str, value: u32) -> mongodb::error::Result<u64> {
    let numbers = mongodb::Client::with_uri_str(uri).await?.database("ackscope_test").collection("numbers");
    numbers.insert_one(mongodb::bson::doc! { "number": value }).await?;
    numbers.count_documents(mongodb::bson::doc! {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_answer_and_nothing_is_left() {
    let Some(images) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let lines = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&lines);
    let progress = Arc::new(move |line: &str| told.lock().push(line.to_owned()));
    let containers = Containers::start(ContainersOptions { progress, ..options(images) }).await.unwrap();
    let addresses = containers.addresses().clone();
    for server in Server::ALL {
        let says = |what: &str| lines.lock().iter().any(|line| line.starts_with(&format!("{server}: {what}")));
        assert!(says("starting ") && says("started, waiting") && says("ready after "), "{:?}", lines.lock());
    }
    set(&addresses.redis_url, 1).await.unwrap();
    assert_eq!(insert(&addresses.mongodb_uri, 1).await.unwrap(), 1);

    let ids = own();
    assert_eq!(ids.len(), 3);
    let used = volumes_of(&ids).unwrap();
    for id in &ids {
        let bound = docker(&["inspect", "--format", "{{json .HostConfig.PortBindings}}", id]).unwrap();
        assert!(bound.contains(r#""HostIp":"127.0.0.1""#) && !bound.contains("0.0.0.0"), "{bound}");
    }

    // What was killed or stopped comes back with its data and at its address.
    containers.kill(Server::Mongodb).await.unwrap();
    containers.start_again(Server::Mongodb).await.unwrap();
    assert_eq!(insert(&addresses.mongodb_uri, 2).await.unwrap(), 2);
    containers.stop(Server::Kafka).await.unwrap();
    containers.start_again(Server::Kafka).await.unwrap();
    containers.pause(Server::Redis).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(500), set(&addresses.redis_url, 2)).await;
    assert!(!matches!(silent, Ok(Ok(()))));
    containers.unpause(Server::Redis).await.unwrap();
    set(&addresses.redis_url, 3).await.unwrap();
    assert_eq!(containers.addresses(), &addresses);

    // A frozen server does not stand in the way of the end.
    containers.pause(Server::Redis).await.unwrap();
    containers.shutdown().await;
    assert_eq!(own(), Vec::<String>::new());
    let left = volumes().unwrap();
    assert!(used.iter().all(|volume| !left.contains(volume)), "{used:?}");
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_nothing() {
    let Some(images) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    // In the middle of making the containers, and while they are waited for.
    for millis in [0, 20, 100, 400, 1_500] {
        let starting = Containers::start(options(images.clone()));
        let dropped = tokio::time::timeout(Duration::from_millis(millis), starting).await;
        assert!(dropped.is_err());
        assert_eq!(own(), Vec::<String>::new(), "after {millis} ms");
    }
    // A kept start that is dropped keeps nothing of its own. Where others keep theirs it has found them by then.
    let starting = Containers::start(ContainersOptions { keep: true, ..options(images) });
    drop(tokio::time::timeout(Duration::from_millis(400), starting).await);
    assert_eq!(own(), Vec::<String>::new());
}

#[tokio::test]
async fn the_sweep_takes_what_a_dead_owner_left_and_nothing_else() {
    let Some(images) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let state = tempfile::tempdir().unwrap();
    let (mut killed, _) = ready("start", state.path());
    killed.kill().unwrap();
    killed.wait().unwrap();
    let left = of_place(state.path()).unwrap();
    assert_eq!(left.len(), 3, "SIGKILL leaves them to the sweep");

    let place = format!("dev.ackscope.place={}", place_id(state.path()).unwrap());
    let dead_run = "dev.ackscope.run=6a3c0f8e-52b6-4b64-9d51-0c8b1c1f2a77";
    let create = |labels: &[&str]| {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let arguments: Vec<_> = ["create"].into_iter().chain(labels).chain([images.redis.as_str()]).collect();
        docker(&arguments).unwrap()
    };
    let foreign = create(&["org.example=1"]);
    let of_another_place = create(&["dev.ackscope.place=another", dead_run]);
    let without_run = create(&[&place]);
    let kept = create(&[&place, dead_run, "dev.ackscope.kept=true"]);
    // Another process of this user, alive; its start sweeps too.
    let (alive, _) = ready("start", state.path());
    let swept_by_the_start = left.iter().all(|id| docker(&["inspect", id]).is_err());
    let dead = create(&[&place, dead_run]);
    let swept = String::from_utf8(output_of("sweep", state.path()).stdout).unwrap();
    let mut rest = of_place(state.path()).unwrap();
    rest.push(foreign.clone());
    rest.push(of_another_place.clone());
    let all_there =
        [&foreign, &of_another_place, &without_run, &kept].iter().all(|id| docker(&["inspect", id]).is_ok());
    let dead_is_there = docker(&["inspect", &dead]).is_ok();
    end(alive);
    for id in [&foreign, &of_another_place, &without_run, &kept] {
        docker(&["rm", "--force", "--volumes", id]).unwrap();
    }
    assert!(swept_by_the_start);
    assert_eq!(swept.trim(), "Swept { runs: 1, containers: 1 }");
    assert!(all_there && !dead_is_there);
    assert_eq!(rest.len(), 3 + 4, "the living process's containers stay: {rest:?}");
    assert_eq!(of_place(state.path()).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_watchdog_removes_what_a_killed_process_leaves() {
    let Some(_) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let state = tempfile::tempdir().unwrap();
    let (mut killed, _) = ready("watched", state.path());
    assert_eq!(of_place(state.path()).unwrap().len(), 3);
    let used = volumes_of(&of_place(state.path()).unwrap()).unwrap();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let left = of_place(state.path()).unwrap();
        if left.is_empty() && locks(state.path()).is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{left:?}, {:?}", locks(state.path()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let volumes = volumes().unwrap();
    assert!(used.iter().all(|volume| !volumes.contains(volume)), "{used:?}");
    // An orderly end leaves no watchdog that waits.
    let (ended, _) = ready("watched", state.path());
    end(ended);
    assert_eq!(locks(state.path()), Vec::<String>::new());
}

/// The lock files of runs.
fn locks(state: &Path) -> Vec<String> {
    let files = std::fs::read_dir(state.join("ackscope/containers")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("run-")).collect()
}

#[tokio::test]
async fn kept_servers_are_found_again_until_they_are_removed() {
    let Some(_) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let state = tempfile::tempdir().unwrap();
    let (first, _) = ready("keep", state.path());
    end(first);
    let mut kept = of_place(state.path()).unwrap();
    output_of("sweep", state.path());
    // Two at once use the same ones, fast.
    let (second, seconds) = ready("keep", state.path());
    let (third, _) = ready("keep", state.path());
    let mut still = of_place(state.path()).unwrap();
    end(second);
    end(third);
    // A broken one is replaced, the others stay.
    docker(&["rm", "--force", "--volumes", &kept[0]]).unwrap();
    let (fourth, _) = ready("keep", state.path());
    end(fourth);
    let replaced = of_place(state.path()).unwrap();
    let removed = String::from_utf8(output_of("remove-kept", state.path()).stdout).unwrap();
    assert_eq!(of_place(state.path()).unwrap(), Vec::<String>::new());
    assert_eq!(removed.trim(), "3");
    kept.sort();
    still.sort();
    assert_eq!(kept, still);
    assert!(seconds < 2.0, "kept servers were ready after {seconds} s");
    assert_eq!(replaced.iter().filter(|id| kept.contains(id)).count(), 2);
}

#[tokio::test]
async fn errors_say_what_to_do() {
    let Some(images) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let nonsense = ContainerImages { redis: "No Image".to_owned(), ..images.clone() };
    let error = Containers::start(options(nonsense)).await.unwrap_err();
    assert!(error.is_usage() && error.to_string().contains("ACKSCOPE_REDIS_IMAGE"), "{error}");

    let unknown = ContainerImages { redis: "ackscope-none/such:1".to_owned(), ..images };
    let error = Containers::start(options(unknown)).await.unwrap_err();
    assert!(matches!(error, ContainersError::Image { server: Server::Redis, .. }), "{error}");
    for part in ["Redis", "ackscope-none/such:1", "ACKSCOPE_REDIS_IMAGE", "tests/images"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    // The other two were starting; they are gone when the error is told.
    assert_eq!(own(), Vec::<String>::new());

    let state = tempfile::tempdir().unwrap();
    let nobody = state.path().join("nobody.sock");
    drop(std::os::unix::net::UnixListener::bind(&nobody).unwrap());
    let deaf = state.path().join("deaf.sock");
    let _deaf = std::os::unix::net::UnixListener::bind(&deaf).unwrap();
    for (host, says) in [
        ("unix:///nonexistent/docker.sock".to_owned(), "Docker is not running"),
        (format!("unix://{}", nobody.display()), "Docker is not running"),
        (format!("unix://{}", deaf.display()), "Docker does not answer"),
        ("tcp://127.0.0.1:1".to_owned(), "Docker is not running"),
        ("carrier-pigeon://x".to_owned(), "DOCKER_HOST=carrier-pigeon://x names no Docker engine"),
    ] {
        let begun = Instant::now();
        let output = program("status", state.path()).env("DOCKER_HOST", &host).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains(says), "{host}: {said}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{host}: {:?}", begun.elapsed());
    }
}

/// The drill that is run with 50 rounds by hand: `ackscope-leaks 50`.
#[tokio::test]
async fn starts_that_are_broken_off_leave_nothing() {
    let Some(_) = images().await else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let output = Command::new(PROGRAM).arg("3").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{}", String::from_utf8_lossy(&output.stdout));
}
