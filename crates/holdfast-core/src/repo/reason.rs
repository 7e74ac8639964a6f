//! The words in the conditions of repositories and providers: those of the original API, and a few of Holdfast's own.

/// Types of conditions.
pub mod condition_types {
    /// The provider exists and is Ready.
    pub const STORAGE_PROVIDER_READY: &str = "StorageProviderReady";
    /// Configuration and credentials are there and fit the provider.
    pub const PARAMETERS_CHECKED: &str = "ParametersChecked";
    /// The Secret and the StorageClass were made.
    pub const STORAGE_CLASS_CREATED: &str = "StorageClassCreated";
    /// Claims can be made from the provider's template.
    pub const PVC_TEMPLATE_CHECKED: &str = "PVCTemplateChecked";
    /// What was made for the repository is gone.
    pub const DERIVED_OBJECTS_DELETED: &str = "DerivedObjectsDeleted";
    /// Holdfast's own: the StorageClass is what the templates give today.
    pub const STORAGE_CLASS_CURRENT: &str = "StorageClassCurrent";
    /// Holdfast's own: every namespace whose Backups wait for a claim has one.
    pub const CLAIMS_CREATED: &str = "ClaimsCreated";
    /// Holdfast's own: backups are on the disk that they protect.
    pub const SHARES_DISK_WITH_DATA: &str = "SharesDiskWithData";
    /// On a provider: its CSI driver is installed.
    pub const CSI_DRIVER_INSTALLED: &str = "CSIDriverInstalled";
}

macro_rules! reasons {
    ($($name:ident: $hint:literal,)*) => {
        /// Reasons in the conditions and events of repositories and providers. The list is closed.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum RepoReason {
            $(#[doc = $hint] $name,)*
        }

        impl RepoReason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in conditions, events and metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means and what to do, in one sentence.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$name => $hint,)* }
            }
        }
    };
}

reasons! {
    StorageProviderReady: "The provider can be used.",
    StorageProviderNotFound: "The named StorageProvider does not exist: create it, or make the repository anew with another name.",
    StorageProviderNotReady: "The StorageProvider is not Ready: install its CSI driver.",
    InvalidStorageProvider: "The StorageProvider has neither a template for a StorageClass nor one for claims: add one.",
    ParametersChecked: "Configuration and credentials fit the provider.",
    CredentialSecretNotFound: "The Secret in spec.credential does not exist: create it, or correct the name.",
    CredentialNamespaceNotAllowed: "Secrets of that namespace may not be read: move the Secret, or add the namespace to the chart's credentialNamespaces.",
    InvalidParameters: "A parameter is missing or not allowed: the message names it.",
    StorageClassCreated: "The Secret and the StorageClass are there.",
    BadSecretTemplate: "The provider's Secret template cannot be rendered: the message says where.",
    BadStorageClassTemplate: "The provider's StorageClass template cannot be rendered: the message says where.",
    NameTaken: "An object with this name exists and was not made for the repository: rename or delete it.",
    StorageClassOutdated: "The StorageClass differs from what the templates give today and cannot be changed: delete it, and it is made anew.",
    PVCTemplateChecked: "Claims can be made.",
    BadPVCTemplate: "No claim can be made: the message says why.",
    ClaimsCreated: "Every Backup that waited has its claim.",
    ClaimNotCreated: "A claim could not be made: the message says where and why.",
    DerivedObjectsDeleted: "What was made for the repository is gone.",
    HaveAssociatedBackups: "Backups still refer to the repository: delete them first.",
    HaveResidualPVCs: "Claims of the repository still exist, perhaps in use: end the pods that mount them.",
    HaveResidualVolumes: "The CSI driver has yet to remove the volumes; their Secret is kept that long.",
    VolumesLeftBehind: "The CSI driver did not remove the volumes in time: the repository is released without them.",
    SharesDiskWithData: "Backups are directories of the node that the data is on: losing the node or its disk loses both.",
    CSIDriverObjectFound: "The CSI driver is installed, or none is needed.",
    CheckCSIDriverFailed: "The CSI driver is not installed: install it, or correct the name.",
    CSIDriverSecretUpdated: "The CSI driver's Secret was rendered again, because a template or parameter changed.",
    Ready: "The repository can be used.",
    DeletingCR: "The object is being deleted.",
    DeletedCR: "The object is deleted.",
    UnknownError: "The API server refused an object: the message holds its words.",
}
