//! Limits under load, arguments without a meaning, and how the server ends.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;

use crate::http::{head, read};
use crate::{png, Running, RUNS};

/// A request that takes a while: images as binary tensors.
fn many_images(count: usize) -> Vec<u8> {
    let size = count * 784;
    let text = format!(
        r#"{{"inputs": [{{"name": "pixels", "datatype": "UINT8", "shape": [{count}, 784], "parameters": {{"binary_data_size": {size}}}}}], "outputs": [{{"name": "label"}}]}}"#
    );
    let header = format!("inference-header-content-length: {}", text.len());
    let len = text.len() + size;
    [head("POST", "/v2/models/digits/infer", &[&header], len), text.into_bytes(), vec![7; size]]
        .concat()
}

#[test]
fn a_full_queue_refuses_and_says_when_to_try_again() {
    let server = Running::with("--queue 1 --timeout 60", None);
    let request = many_images(4_096);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || {
            let reply = server.raw(&request);
            if reply.status == 429 {
                reply.refused(429, &["too many requests"]);
                assert_eq!(reply.header("retry-after"), Some("1"));
            }
            reply.status
        };
        let threads: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.contains(&429), "{statuses:?}");
    assert!(statuses.contains(&200), "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
    server.post("/predict", &[], &png(1)).done();
}

#[test]
fn idle_connections_and_slow_senders_hold_nobody_up() {
    let server = Running::new();
    let idle: Vec<TcpStream> = (0..200).map(|_| server.connect()).collect();
    let slow: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&head("POST", "/predict", &[], 500)).unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    for index in 0..20 {
        server.post("/predict", &[], &png(index)).done();
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("candle_rnn_connections "));
    // Some that have ended may not be counted off yet.
    assert!(line.unwrap().parse::<u32>().unwrap() >= 251, "{text}");
    drop((idle, slow));
}

#[test]
fn a_connection_too_many_is_told_so() {
    let server = Running::with("--max-connections 2", None);
    let mut held = [server.connect(), server.connect()];
    for stream in &mut held {
        stream.write_all(&head("GET", "/healthz", &[], 0)).unwrap();
        assert_eq!(read(stream).unwrap().status, 200);
    }
    let mut third = server.connect();
    // It is told so whatever it sends. The server may close before it has read everything.
    let _ = third.write_all(&[head("POST", "/predict", &[], 100_000), vec![7; 100_000]].concat());
    std::thread::sleep(Duration::from_millis(100));
    let reply = read(&mut third).unwrap();
    reply.refused(503, &["too many connections"]);
    assert_eq!(reply.header("retry-after"), Some("1"));
}

#[test]
fn large_bodies_that_do_not_arrive_hold_no_other_up() {
    let server = Running::with("--timeout 30", None);
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(&head("POST", "/predict", &[], 500_000)).unwrap();
            stream.write_all(&[7; 100]).unwrap();
            stream
        })
        .collect();
    let begin = Instant::now();
    assert_eq!(server.raw(&many_images(500)).status, 200);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    drop(slow);
}

#[test]
fn a_large_body_too_many_is_refused() {
    let server = Running::with("--timeout 4", None);
    let begin = |sent: usize| {
        let mut stream = server.connect();
        stream.write_all(&head("POST", "/predict", &[], 500_000)).unwrap();
        stream.write_all(&vec![7; sent]).unwrap();
        stream
    };
    // Its time is over before that of those that hold it up.
    let mut last = begin(10_000);
    std::thread::sleep(Duration::from_secs(2));
    let slow: Vec<TcpStream> = (0..16).map(|_| begin(100_000)).collect();
    std::thread::sleep(Duration::from_millis(500));
    last.write_all(&vec![7; 100_000]).unwrap();
    let reply = read(&mut last).unwrap();
    reply.refused(503, &["large bodies"]);
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(slow);
}

#[test]
fn clients_that_never_read_are_cut_off() {
    let server = Running::with("--max-connections 1 --timeout 1", None);
    let mut deaf = server.connect();
    deaf.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // More answers than buffers hold; the server may stop to read before all are asked for.
    let _ = deaf.write_all(&head("GET", "/", &[], 0).repeat(2_000));
    let begin = Instant::now();
    loop {
        let mut stream = server.connect();
        // It may be refused already.
        let _ = stream.write_all(&head("GET", "/healthz", &[], 0));
        if read(&mut stream).is_some_and(|reply| reply.status == 200) {
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(deaf);
}

#[cfg(unix)]
#[test]
fn sigterm_ends_what_has_begun_and_nothing_else() {
    let server = Running::new();
    let picture = png(2);
    let mut begun = server.connect();
    begun.write_all(&head("POST", "/predict", &[], picture.len())).unwrap();
    begun.write_all(&picture[..50]).unwrap();
    let mut idle = server.connect();
    server.get("/readyz").done();
    server.terminate();
    let begin = Instant::now();
    // It is not ready any more, and says so for a while.
    loop {
        let reply = server.get("/readyz");
        if reply.status == 503 {
            assert_eq!(reply.header("connection"), Some("close"));
            break;
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
    // It may have closed its port meanwhile.
    if let Ok(mut stream) = TcpStream::connect(server.address) {
        let _ = stream.write_all(&head("GET", "/healthz", &[], 0));
        if let Some(reply) = read(&mut stream) {
            assert_eq!(reply.status, 200, "{reply:?}");
        }
    }
    while TcpStream::connect(server.address).is_ok() {
        assert!(begin.elapsed() < Duration::from_secs(8));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(read(&mut idle).is_none());
    begun.write_all(&picture[50..]).unwrap();
    let reply = read(&mut begun).unwrap();
    assert_eq!(reply.status, 200, "{reply:?}");
    let (code, stderr) = server.end();
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn requests_that_do_not_end_are_cut_off_at_the_deadline() {
    let server = Running::with("--drain-seconds 1 --timeout 600", None);
    let mut begun = server.connect();
    begun.write_all(&head("POST", "/predict", &[], 500)).unwrap();
    server.get("/readyz").done();
    server.terminate();
    let begin = Instant::now();
    let (code, stderr) = server.end();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("error: ") && stderr.contains("--drain-seconds"), "{stderr}");
}

#[test]
fn arguments_without_a_meaning_are_wrong_usage() {
    let serve = |args: &str, key: Option<&str>| {
        let mut command = Command::new(cargo_bin!("candle-rnn"));
        command.args(["serve"]).args(args.split_whitespace()).current_dir(&*RUNS);
        command.env_remove("CANDLE_RNN_KEY");
        if let Some(key) = key {
            command.env("CANDLE_RNN_KEY", key);
        }
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (args, key, code, text) in [
        ("digits --host 0.0.0.0", None, 2, "CANDLE_RNN_KEY"),
        ("digits --no-key", Some("key"), 2, "--no-key"),
        ("digits --queue 0", None, 2, "--queue"),
        ("digits", Some(""), 1, "empty"),
        ("digits digits", None, 1, "two runs are called digits"),
        ("digits digits=lines", None, 1, "such as digits-2=lines"),
        ("/=digits", None, 1, "/=digits"),
        ("a/b=digits", None, 1, "it has no config.json; in NAME=RUN a name has no slash"),
        ("..=digits", None, 2, "more than dots"),
        ("nothing", None, 1, "nothing"),
        ("", None, 2, "RUN"),
    ] {
        let (found, stderr) = serve(args, key);
        assert_eq!(found, Some(code), "{args}: {stderr}");
        assert!(stderr.contains(text), "{args}: {stderr}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (code, stderr) = serve(&format!("digits --port {port}"), None);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("cannot listen at 127.0.0.1"), "{stderr}");
    let remedy = "take another port, or 0 for a free one, with --port\n";
    assert!(stderr.ends_with(remedy), "{stderr}");
    let (code, stderr) = serve("digits --no-key --host 192.0.2.1 --port 0", None);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("take an address of this machine"), "{stderr}");
}
