/// What must be named to the operator: bounded lists, complete counts.
struct Findings {
    /// Names kept per kind; more are counted only.
    static let namesPerKind = 10_000

    private(set) var list: [Finding] = []
    private(set) var keysToRepair = 0
    private var counts: [Finding.Kind: Int] = [:]
    private var repairKeys: Set<String> = []

    /// Whether a finding of the kind would be listed.
    func hasRoom(for kind: Finding.Kind) -> Bool {
        counts[kind, default: 0] < Findings.namesPerKind
    }

    /// False for a key that is named already.
    @discardableResult
    mutating func add(_ finding: Finding) -> Bool {
        if finding.kind == .repair {
            // One line a key, however many records touch it.
            let name = "\(finding.database) \(finding.key)"
            if repairKeys.contains(name) { return false }
            keysToRepair += 1
            if repairKeys.count < Findings.namesPerKind { repairKeys.insert(name) }
        }
        let count = counts[finding.kind, default: 0]
        counts[finding.kind] = count + 1
        if count < Findings.namesPerKind { list.append(finding) }
        return true
    }
}
