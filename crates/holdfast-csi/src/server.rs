//! Serves the driver's sockets until a signal.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::{
    Args, DRIVER, authority,
    controller::Controller,
    identity::Identity,
    node::Node,
    registration::Registration,
    volumes::Volumes,
    wire::{
        csi::{controller_server::ControllerServer, identity_server::IdentityServer, node_server::NodeServer},
        registration::registration_server::RegistrationServer,
    },
};

/// Runs the driver until SIGTERM or SIGINT.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let socket = socket_path(&args.endpoint)?;
    let volumes = Arc::new(Volumes::open(&args.data_dir)?);
    let listener = listen(&socket)?;
    let stop = CancellationToken::new();
    let driver = Server::builder()
        .add_service(IdentityServer::new(Identity))
        .add_service(ControllerServer::new(Controller::new(
            Arc::clone(&volumes),
            args.node_id.clone(),
        )))
        .add_service(NodeServer::new(Node::new(volumes, args.node_id.clone())))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
    let registration = register(&args, stop.clone());
    tracing::info!(socket = %socket.display(), node = args.node_id, "serving");
    let signals = async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // It also ends by itself, when kubelet refuses it.
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {}, () = stop.cancelled() => {} }
        stop.cancel();
        anyhow::Ok(())
    };
    let served = async { driver.await.context("the driver's socket cannot be served") };
    tokio::try_join!(served, registration, signals)?;
    Ok(())
}

async fn register(args: &Args, stop: CancellationToken) -> anyhow::Result<()> {
    let Some(folder) = &args.registration_dir else {
        return Ok(());
    };
    let socket = folder.join(format!("{DRIVER}-reg.sock"));
    let listener = listen(&socket)?;
    let own = inode(&socket);
    let service = Registration::new(args.kubelet_registration_path.clone(), stop.clone());
    let served = Server::builder()
        .add_service(RegistrationServer::new(service))
        .serve_with_incoming_shutdown(authority::connections(listener), stop.cancelled_owned())
        .await
        .context("the registration socket cannot be served");
    // Kubelet forgets a driver whose socket is gone. A successor may have put its own there already.
    if inode(&socket) == own {
        let _ = fs::remove_file(&socket);
    }
    served
}

/// Which file is at a path.
fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

fn socket_path(endpoint: &str) -> anyhow::Result<PathBuf> {
    let path = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    if !path.starts_with('/') {
        bail!("--endpoint must be unix:///<absolute path>, not {endpoint}");
    }
    Ok(PathBuf::from(path))
}

/// Listens on a socket; one that an earlier process left is replaced.
fn listen(socket: &Path) -> anyhow::Result<UnixListener> {
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", socket.display()));
        }
        _ => {}
    }
    UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))
}
