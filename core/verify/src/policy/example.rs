//! With which policy does one begin?

use casemate_crypto::hash::Sha256;

pub(super) fn text(simulated_roots: &[Sha256]) -> String {
    let simulated = if simulated_roots.is_empty() {
        "\"none\"".to_owned()
    } else {
        let quoted: Vec<String> = simulated_roots.iter().map(|digest| format!("\"{digest}\"")).collect();
        format!("[{}]", quoted.join(", "))
    };
    TEMPLATE.replace("@SIMULATED@", &simulated)
}

pub(super) fn hardware_only() -> String {
    let asks = |rule: &str| format!("{rule} = \"any\"");
    let text: Vec<String> = text(&[])
        .lines()
        .map(|line| match line.split(" = \"expected\"").next() {
            Some(rule @ ("measurements" | "digests" | "report_data")) => asks(rule),
            _ => line.to_owned(),
        })
        .collect();
    text.join("\n") + "\n"
}

const TEMPLATE: &str = r#"# What this app's Verifiers accept. Every rule is written out; what is not checked says "any".
# Reference: docs/reference/policy.md
version = 1

[roots]
amd = "builtin"                    # AMD's root keys of Milan, Genoa and Turin; or "none"
intel = "builtin"                  # Intel's root key; or "none"

[simulated_roots]
# Software in place of hardware: no confidentiality. Counts only if the caller accepts it as well.
spki_sha256 = @SIMULATED@

[hardware]
products = ["Milan", "Genoa", "Turin"]
denied_products = "none"
signing_keys = ["VCEK"]            # a VLEK is shared between a provider's chips
vlek_providers = "any"             # or a list of names, as VLEK certificates spell them
chips = "any"                      # or a list of chip ids, 128 digits each
denied_chips = "none"
minimum_report_version = 3         # version 2 does not name its processor
vmpl = [0]

# Oldest firmware accepted: what answers AMD-SB-3015 (BadRAM), AMD-SB-3019 (EntrySign), AMD-SB-3020,
# AMD-SB-3023, AMD-SB-3027 and, on Milan, AMD-SB-3030. Raise it as AMD publishes; docs/reference/policy.md
# says where each number comes from. Microcode counts by design; Siena is Bergamo.
# `mitigations` lists bits that must be set in both mitigation vectors (reports since version 5).
[minimum_tcb.Milan]
bootloader = 4
tee = 0
snp = 29
microcode = { Milan = 222, Milan-X = 71 }
mitigations = "any"

[minimum_tcb.Genoa]
bootloader = 10
tee = 0
snp = 27
microcode = { Genoa = 86, Genoa-X = 81, Bergamo = 25 }
mitigations = "any"

[minimum_tcb.Turin]
fmc = 1
bootloader = 1
tee = 1
snp = 4
microcode = { Turin = 81, Turin-Dense = 71 }
mitigations = "any"

[guest_policy]                     # "required", "forbidden" or "any"
debug = "forbidden"
migrate_ma = "forbidden"
smt = "any"
single_socket = "any"
cxl = "forbidden"
aes_256_xts = "any"
rapl_disabled = "any"
ciphertext_hiding = "any"
page_swap_disabled = "any"

[id_block]                         # who vouches for what was launched, by digest of the key
id_keys = "any"                    # or a list, 96 digits each
author_keys = "any"
family_ids = "any"                 # or a list, 32 digits each; worth something only with a key above
image_ids = "any"
minimum_guest_svn = "any"

[platform]                         # "required", "forbidden" or "any"
smt = "any"
tsme = "any"
ecc = "any"
rapl_disabled = "any"
ciphertext_hiding = "any"
alias_check = "required"           # AMD-SB-3015 (BadRAM)
iommu_write_safe = "any"           # AMD-SB-3016; old firmware does not report it
trusted_io = "any"

[intel]                            # what Intel says of the platform, for TDX
tcb_statuses = ["UpToDate"]        # not SWHardeningNeeded, ConfigurationNeeded, OutOfDate...
accepted_advisories = "none"       # or a list such as "INTEL-SA-00615", or "any"
minimum_tcb_evaluation_number = 17
platforms = "any"                  # or a list of PPIDs, 32 digits each
denied_platforms = "none"
processors = "any"                 # or a list of FMSPCs, 12 digits each
denied_processors = "none"
smt = "any"                        # "required", "forbidden" or "any", as in the PCK certificate
dynamic_platform = "any"
cached_keys = "any"

[tdx]
minimum_report = "1.0"             # "1.5" names service TDs; quotes of version 4 cannot
service_td = "none"                # or a list of MRSERVICETD, or "any"
modules = "any"                    # or a list of MRSEAM
xfam = "any"                       # or the most features that may be on, 16 digits
mr_owner = "any"
mr_owner_config = "any"

[tdx.attributes]                   # "required", "forbidden" or "any"
debug = "forbidden"
hgs_plus_prof = "forbidden"
perf_prof = "forbidden"
pmt_prof = "forbidden"
icssd = "any"
lass = "any"
sept_ve_disable = "required"
migratable = "forbidden"
pks = "any"
key_locker = "any"
tpa = "any"
perfmon = "any"

[tdx.registers]                    # "any" or lists; the launch measurement is below
mrtd = "any"
rtmr0 = "any"
rtmr1 = "any"
rtmr2 = "any"
rtmr3 = "any"

[image]
measurements = "expected"          # what the Verifier computed; or a list of digests and image names

[workload]
digests = "expected"               # what the Verifier computed or was authorised; or a list
apps = "none"                      # or a list of app ids, each authorised by its owner's record

[collateral]
revocation_list = "optional"
maximum_age_days = "any"

[freshness]
report_data = "expected"
maximum_age_seconds = 300
"#;
