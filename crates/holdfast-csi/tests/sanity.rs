//! The driver passes csi-sanity for all that it claims. As root, because it mounts.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Ends the driver whatever becomes of the test.
struct Driver(Child);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tool(name: &str) -> PathBuf {
    let folder = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let bin = folder("HOLDFAST_BIN").or_else(|| Some(cache?.join("holdfast/bin")));
    let tool = bin.unwrap_or_default().join(name);
    assert!(tool.exists(), "{} is missing: run `make tools`", tool.display());
    tool
}

#[test]
fn the_driver_passes_csi_sanity() {
    let root = tempfile::tempdir().unwrap();
    let socket = root.path().join("csi.sock");
    let endpoint = format!("unix://{}", socket.display());
    let mut driver = Driver(
        Command::new(env!("CARGO_BIN_EXE_holdfast-csi"))
            .args(["--endpoint", &endpoint, "--node-id", "node-1"])
            .arg("--data-dir")
            .arg(root.path().join("volumes"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let deadline = Instant::now() + Duration::from_secs(20);
    while !socket.exists() {
        assert!(driver.0.try_wait().unwrap().is_none(), "the driver ended");
        assert!(
            Instant::now() < deadline,
            "the driver did not serve its socket within 20 s"
        );
        std::thread::yield_now();
    }
    let output = Command::new(tool("csi-sanity"))
        .arg(format!("--csi.endpoint={endpoint}"))
        .arg(format!("--csi.mountdir={}", root.path().join("target").display()))
        .arg(format!("--csi.stagingdir={}", root.path().join("staging").display()))
        .arg("--ginkgo.no-color")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "csi-sanity failed");
    let ran = text
        .lines()
        .rev()
        .find(|line| line.contains("Passed"))
        .unwrap_or_default();
    assert!(ran.contains("0 Failed") && !ran.contains(" 0 Passed"), "{ran}");
    assert_eq!(
        std::fs::read_dir(root.path().join("volumes/.volumes")).unwrap().count(),
        0,
        "volumes were left"
    );
}
