//! Makes the driver known to kubelet.

use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::{
    DRIVER,
    wire::registration::{
        InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse, registration_server,
    },
};

/// Answers kubelet, which asks when it finds the socket.
#[derive(Debug)]
pub(crate) struct Registration {
    endpoint: String,
    stop: CancellationToken,
}

impl Registration {
    pub(crate) fn new(endpoint: String, stop: CancellationToken) -> Self {
        Self { endpoint, stop }
    }
}

#[tonic::async_trait]
impl registration_server::Registration for Registration {
    async fn get_info(&self, _: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: "CSIPlugin".to_owned(),
            name: DRIVER.to_owned(),
            endpoint: self.endpoint.clone(),
            supported_versions: vec!["1.0.0".to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!("registered with kubelet");
        } else {
            tracing::error!(
                error = status.error,
                "kubelet refused the driver; ending, to be started anew"
            );
            self.stop.cancel();
        }
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}
