//! What csi-sanity does not ask: read-only mounts, sharing, places that are refused, registration, a restart.
//! As root, because it mounts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use holdfast_csi::{
    Args, DRIVER, TOPOLOGY, run,
    wire::{
        csi::{
            CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, NodeGetVolumeStatsRequest,
            NodePublishVolumeRequest, NodeUnpublishVolumeRequest, Topology, TopologyRequirement, Volume,
            VolumeCapability,
            controller_client::ControllerClient,
            node_client::NodeClient,
            volume_capability::{AccessMode, AccessType, MountVolume, access_mode::Mode},
        },
        registration::{InfoRequest, RegistrationStatus, registration_client::RegistrationClient},
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Driver {
    home: TempDir,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Driver {
    async fn start() -> Self {
        Self::over(tempfile::tempdir().unwrap()).await
    }

    async fn over(home: TempDir) -> Self {
        let at = |name: &str| home.path().join(name);
        let args = Args {
            endpoint: format!("unix://{}", at("csi.sock").display()),
            node_id: "node-1".to_owned(),
            data_dir: at("volumes"),
            registration_dir: Some(at("registry")),
            kubelet_registration_path: "/kubelet/csi.sock".to_owned(),
            log: "info".to_owned(),
        };
        let task = tokio::spawn(run(args));
        let driver = Self { home, task };
        driver.channel("csi.sock").await;
        driver
    }

    /// Ends the driver as a crash would: nothing is cleaned up.
    async fn crash(self) -> TempDir {
        self.task.abort();
        let _ = self.task.await;
        self.home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    async fn channel(&self, socket: &str) -> Channel {
        let address = format!("unix:{}", self.at(socket).display());
        let connected = async {
            loop {
                if let Ok(channel) = Endpoint::from_shared(address.clone()).unwrap().connect().await {
                    return channel;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, connected).await.unwrap()
    }

    async fn create(&self, request: CreateVolumeRequest) -> Result<Volume, Status> {
        let answer = ControllerClient::new(self.channel("csi.sock").await)
            .create_volume(request)
            .await?;
        Ok(answer.into_inner().volume.unwrap())
    }

    async fn publish(&self, id: &str, target: &Path, readonly: bool) -> Result<(), Status> {
        let request = NodePublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: target.display().to_string(),
            volume_capability: Some(shared()),
            readonly,
        };
        NodeClient::new(self.channel("csi.sock").await)
            .node_publish_volume(request)
            .await
            .map(|_| ())
    }

    async fn unpublish(&self, id: &str, target: &Path) -> Result<(), Status> {
        let request = NodeUnpublishVolumeRequest {
            volume_id: id.to_owned(),
            target_path: target.display().to_string(),
        };
        NodeClient::new(self.channel("csi.sock").await)
            .node_unpublish_volume(request)
            .await
            .map(|_| ())
    }
}

fn shared() -> VolumeCapability {
    VolumeCapability {
        access_mode: Some(AccessMode {
            mode: Mode::MultiNodeMultiWriter.into(),
        }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn request(name: &str) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.to_owned(),
        volume_capabilities: vec![shared()],
        ..CreateVolumeRequest::default()
    }
}

#[tokio::test]
async fn pods_of_the_node_share_a_volume_and_readers_do_not_write() {
    let driver = Driver::start().await;
    let volume = driver.create(request("pvc-1")).await.unwrap();
    assert_eq!(volume.accessible_topology[0].segments[TOPOLOGY], "node-1");
    let (writer, reader) = (driver.at("pods/writer"), driver.at("pods/reader"));
    driver.publish(&volume.volume_id, &writer, false).await.unwrap();
    driver.publish(&volume.volume_id, &reader, true).await.unwrap();
    driver.publish(&volume.volume_id, &reader, true).await.unwrap();
    fs::write(writer.join("data"), "shared").unwrap();
    let read = fs::read_to_string(reader.join("data"));
    let refused = fs::write(reader.join("data"), "changed");
    let stats = NodeGetVolumeStatsRequest {
        volume_id: volume.volume_id.clone(),
        volume_path: writer.display().to_string(),
    };
    let stats = NodeClient::new(driver.channel("csi.sock").await)
        .node_get_volume_stats(stats)
        .await;
    for target in [&writer, &reader, &reader] {
        driver.unpublish(&volume.volume_id, target).await.unwrap();
    }
    assert_eq!(read.unwrap(), "shared");
    assert!(refused.is_err());
    assert!(stats.unwrap().into_inner().usage.iter().all(|usage| usage.total > 0));
    assert!(!writer.exists() && !reader.exists());
}

#[tokio::test]
async fn what_a_driver_that_crashed_made_and_mounted_is_found_again() {
    let driver = Driver::start().await;
    let volume = driver.create(request("pvc-1")).await.unwrap();
    let target = driver.at("pods/one");
    driver.publish(&volume.volume_id, &target, false).await.unwrap();
    fs::write(target.join("data"), "kept").unwrap();
    let driver = Driver::over(driver.crash().await).await;
    assert_eq!(driver.create(request("pvc-1")).await.unwrap(), volume);
    driver.publish(&volume.volume_id, &target, false).await.unwrap();
    let kept = fs::read_to_string(target.join("data"));
    driver.unpublish(&volume.volume_id, &target).await.unwrap();
    assert_eq!(kept.unwrap(), "kept");
}

#[tokio::test]
async fn what_cannot_be_had_here_is_refused() {
    let driver = Driver::start().await;
    let mut elsewhere = request("pvc-1");
    elsewhere.accessibility_requirements = Some(TopologyRequirement {
        requisite: vec![Topology {
            segments: [(TOPOLOGY.to_owned(), "node-2".to_owned())].into(),
        }],
        preferred: vec![],
    });
    let refused = driver.create(elsewhere).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut huge = request("pvc-1");
    huge.capacity_range = Some(CapacityRange {
        required_bytes: i64::MAX,
        limit_bytes: 0,
    });
    assert_eq!(driver.create(huge).await.unwrap_err().code(), Code::OutOfRange);
    assert_eq!(
        fs::read_dir(driver.at("volumes")).unwrap().count(),
        1,
        "nothing was made"
    );
}

#[tokio::test]
async fn no_name_or_id_leads_out_of_the_folder() {
    let driver = Driver::start().await;
    fs::create_dir(driver.at("precious")).unwrap();
    fs::write(driver.at("precious/data"), "kept").unwrap();
    for name in ["../precious", "/etc", "..", ".volumes", "a/../../precious"] {
        let made = driver.create(request(name)).await.unwrap();
        assert!(driver.at("volumes").join(&made.volume_id).is_dir(), "{name}");
        let refused = driver.publish(name, &driver.at("pods/one"), false).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{name}");
        let request = DeleteVolumeRequest {
            volume_id: name.to_owned(),
        };
        let mut controller = ControllerClient::new(driver.channel("csi.sock").await);
        controller.delete_volume(request).await.unwrap();
    }
    assert_eq!(fs::read_to_string(driver.at("precious/data")).unwrap(), "kept");
    assert!(driver.at("volumes/.volumes").is_dir() && !driver.at("pods/one").exists());
    let escape = PathBuf::from(format!("{}/../precious", driver.at("pods").display()));
    let refused = driver.unpublish("pvc-1", &escape).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn kubelet_learns_the_driver_and_a_refusal_ends_it() {
    let driver = Driver::start().await;
    let mut kubelet = RegistrationClient::new(driver.channel(&format!("registry/{DRIVER}-reg.sock")).await);
    let info = kubelet.get_info(InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", DRIVER));
    assert_eq!(info.endpoint, "/kubelet/csi.sock");
    let told = |plugin_registered| RegistrationStatus {
        plugin_registered,
        error: String::new(),
    };
    kubelet.notify_registration_status(told(true)).await.unwrap();
    assert!(!driver.task.is_finished());
    kubelet.notify_registration_status(told(false)).await.unwrap();
    drop(kubelet);
    timeout(PATIENCE, driver.task).await.unwrap().unwrap().unwrap();
}
