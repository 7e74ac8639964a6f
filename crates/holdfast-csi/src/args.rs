//! What the driver can be told.

use std::path::PathBuf;

/// Arguments of the driver.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "holdfast-csi", version, about)]
pub struct Args {
    /// Socket that the driver serves on, such as `unix:///csi/csi.sock`.
    #[arg(long, env = "HOLDFAST_CSI_ENDPOINT")]
    pub endpoint: String,
    /// Name of the node.
    #[arg(long, env = "HOLDFAST_NODE_ID")]
    pub node_id: String,
    /// Folder that holds the volumes.
    #[arg(long, env = "HOLDFAST_CSI_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Folder in which kubelet looks for drivers; without it the driver does not register.
    #[arg(long, env = "HOLDFAST_CSI_REGISTRATION_DIR")]
    pub registration_dir: Option<PathBuf>,
    /// The driver's socket as kubelet sees it on the node.
    #[arg(long, env = "HOLDFAST_KUBELET_REGISTRATION_PATH", default_value = "")]
    pub kubelet_registration_path: String,
    /// What is logged, as directives of tracing.
    #[arg(long, env = "HOLDFAST_LOG", default_value = "info")]
    pub log: String,
}
