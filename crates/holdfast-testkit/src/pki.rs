//! Certificates of one test server, made by openssl.

use std::{path::Path, process::Command};

use anyhow::{Context as _, bail};

/// Makes a CA, a server certificate for loopback, an administrator's and the key that signs service account tokens.
pub(crate) fn make(dir: &Path) -> anyhow::Result<()> {
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = [
        "req",
        "-x509",
        "-days",
        "30",
        "-subj",
        "/CN=holdfast-test",
        "-keyout",
        "ca.key",
        "-out",
        "ca.crt",
    ];
    openssl(dir, &[&ca[..], &key[..]].concat())?;
    certificate(
        dir,
        "apiserver",
        "/CN=kube-apiserver",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    )?;
    certificate(
        dir,
        "admin",
        "/O=system:masters/CN=admin",
        "extendedKeyUsage=clientAuth",
    )?;
    openssl(
        dir,
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sa.key"],
    )?;
    openssl(dir, &["ec", "-in", "sa.key", "-pubout", "-out", "sa.pub"])
}

fn certificate(dir: &Path, name: &str, subject: &str, extension: &str) -> anyhow::Result<()> {
    std::fs::write(dir.join(format!("{name}.ext")), extension)?;
    let file = |ending: &str| format!("{name}.{ending}");
    let (key, request, certificate, extension) = (file("key"), file("csr"), file("crt"), file("ext"));
    openssl(
        dir,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ],
    )?;
    openssl(
        dir,
        &[
            "x509",
            "-req",
            "-days",
            "30",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-in",
            &request,
            "-out",
            &certificate,
            "-extfile",
            &extension,
        ],
    )
}

fn openssl(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("openssl")
        .args(args)
        .current_dir(dir)
        .output()
        .context("openssl")?;
    if !output.status.success() {
        bail!(
            "openssl {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
