//! Which items of a bundle carry this evidence?

use casemate_evidence::bundle::{Item, SnpCertificates};

use crate::{Certificate, CertificateKind, Evidence};

impl Evidence {
    /// The report or quote as received, then what came along to endorse it.
    ///
    /// Endorsements are a convenience, checked by the Verifier: of certificates, a whole chain is carried or nothing.
    pub fn into_items(self) -> Vec<Item> {
        match self {
            Evidence::Snp { report, certificates } => {
                let endorsements = chain(&certificates).map(Item::SnpCertificates);
                let report = Item::SnpReport(report.as_bytes().to_vec().into());
                [report].into_iter().chain(endorsements).collect()
            }
            Evidence::Tdx { quote, collateral } => {
                let endorsements = collateral.map(|collateral| Item::IntelCollateral(*collateral));
                [Item::TdxQuote(quote.into())].into_iter().chain(endorsements).collect()
            }
        }
    }
}

fn chain(certificates: &[Certificate]) -> Option<SnpCertificates> {
    let of = |kinds: &[CertificateKind]| {
        let found = certificates.iter().find(|certificate| kinds.contains(&certificate.kind));
        found.map(|certificate| certificate.bytes.clone().into())
    };
    Some(SnpCertificates {
        leaf: of(&[CertificateKind::Vcek, CertificateKind::Vlek])?,
        intermediate: of(&[CertificateKind::Ask])?,
        root: of(&[CertificateKind::Ark])?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_chain_is_no_chain() {
        let certificate = |kind, byte| Certificate { kind, bytes: vec![byte] };
        let (leaf, ask, ark) = (
            certificate(CertificateKind::Vcek, 1),
            certificate(CertificateKind::Ask, 2),
            certificate(CertificateKind::Ark, 3),
        );
        assert_eq!(chain(&[leaf.clone(), ark.clone()]), None);
        assert_eq!(chain(&[]), None);
        let whole =
            SnpCertificates { leaf: vec![1].into(), intermediate: vec![2].into(), root: vec![3].into() };
        assert_eq!(chain(&[leaf, ark, ask]), Some(whole));
    }

    #[test]
    fn a_quote_is_no_report() {
        let evidence = Evidence::Tdx { quote: vec![7], collateral: None };
        assert_eq!(evidence.into_items(), [Item::TdxQuote(vec![7].into())]);
    }
}
