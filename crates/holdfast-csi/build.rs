//! Makes the messages and services of the wire contract.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["proto/csi.proto", "proto/registration.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let set = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure().build_client(true).compile_fds(set)?;
    Ok(())
}
