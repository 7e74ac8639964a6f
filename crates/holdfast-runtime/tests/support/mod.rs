//! Services as tests start them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use holdfast_runtime::{CommonArgs, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

#[derive(Parser)]
#[command(args_override_self = true)]
struct Cli {
    #[command(flatten)]
    common: CommonArgs,
}

/// Arguments with a free port and these flags besides.
pub(crate) fn args(flags: &[&str]) -> CommonArgs {
    let fixed = [
        "test",
        "--http-addr=127.0.0.1:0",
        "--log-format=text",
        "--log=off",
        "--drain-seconds=5",
    ];
    Cli::parse_from(fixed.iter().chain(flags)).common
}

/// A service without a cluster: nothing answers at its address.
pub(crate) fn lonely(name: &'static str, flags: &[&str]) -> Service {
    let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    Service::start_with(name, &args(flags), config).unwrap()
}

/// Status and body of a GET.
pub(crate) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// Sum of the samples of a metric whose labels contain `labels`.
pub(crate) fn metric(service: &Service, name: &str, labels: &str) -> f64 {
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&service.metrics.gather())
        .unwrap();
    text.lines()
        .filter(|line| line.starts_with(name) && line.contains(labels))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
