import Operations
import Replication
import Wire

/// What a run prints at its end.
struct Summary {
    /// Names of one kind that are listed; more are in the report file.
    static let namesLimit = 20

    private let outcome: RunOutcome
    private var lines: [String] = []

    /// The lines, each with its line end.
    static func text(_ outcome: RunOutcome) -> String {
        var summary = Summary(outcome: outcome)
        summary.addHead()
        if !outcome.report.progress.flows.isEmpty {
            summary.addCounts()
            summary.addTypes()
            summary.addLosses()
            summary.addPositions()
            summary.addFindings()
        }
        summary.addRisks()
        summary.addDeadLetters()
        if let path = outcome.reportPath { summary.add("", "report: " + path) }
        return summary.lines.map { PrintableText.escaped($0) + "\n" }.joined()
    }

    private init(outcome: RunOutcome) {
        self.outcome = outcome
    }

    private mutating func add(_ newLines: String...) {
        lines += newLines
    }

    private mutating func addHead() {
        let report = outcome.report
        add("df2redis \(outcome.commandName): \(outcome.sentence)", "")
        add("source  \(outcome.settings.source)" + details(report.sourceVersion, report.sourceID))
        add("target  \(outcome.settings.target)" + details(report.targetVersion, ""))
        add(
            "time    \(PrintableText.duration(seconds: outcome.elapsedSeconds)),"
                + " read \(PrintableText.bytes(report.progress.bytesRead)),"
                + " sent \(PrintableText.bytes(report.progress.bytesSent))")
    }

    private func details(_ version: String, _ identity: String) -> String {
        (version.isEmpty ? "" : "  " + version) + (identity.isEmpty ? "" : "  id " + identity)
    }

    private mutating func addCounts() {
        add("", row("records", Self.columns))
        add(counts("snapshot", outcome.report.progress.snapshot))
        add(counts("journal", outcome.report.progress.journal))
    }

    private static let columns = [
        "read", "applied", "filtered", "skipped", "repaired", "failed",
    ]

    private func counts(_ name: String, _ counts: RecordCounts) -> String {
        row(
            name,
            [
                counts.read, counts.applied, counts.filtered, counts.skipped, counts.repaired,
                counts.failed,
            ].map(PrintableText.count))
    }

    private mutating func addTypes() {
        addTypes("snapshot by type", outcome.report.progress.snapshotByType)
        addTypes("journal by type", outcome.report.progress.journalByType)
    }

    private mutating func addTypes(_ title: String, _ table: CountsByType) {
        let present = RecordType.allCases.filter { table[$0] != RecordCounts() }
        guard !present.isEmpty else { return }
        add("", row(title, Self.columns))
        for type in present { add(counts(type.name, table[type])) }
    }

    private func row(_ name: String, _ cells: [String]) -> String {
        PrintableText.padRight(name, 18) + cells.map { PrintableText.padLeft($0, 13) }.joined()
    }

    // What was passed over or lost by rule, in words.
    private mutating func addLosses() {
        let progress = outcome.report.progress
        let losses: [(Int, String)] = [
            (progress.keysKept, "keys kept as the target had them (conflict.policy skip)"),
            (progress.recordsOfKeptKeys, "journal records of such keys"),
            (progress.ghostKeys, "ghost keys dropped (shown by the source on a wrong shard)"),
            (progress.memberExpiriesDropped, "expiries of single fields or members dropped"),
            (progress.elementsRemoved, "fields or members removed when they expired"),
            (
                progress.elementsOpen,
                "fields or members still to be removed when they expire (elements.log)"
            ),
            (progress.jsonTextsWritten, "JSON values written as strings"),
            (progress.stickyFlagsDropped, "sticky flags dropped"),
            (progress.memcachedFlagsDropped, "memcached flags dropped"),
            (
                progress.pendingEntriesDropped,
                "pending entries of deleted stream messages dropped (commands cannot create them)"
            ),
            (
                progress.expiriesNotHeld,
                "near expiries set at once (too many to hold; renewals may have come too late)"
            ),
            (progress.scriptsLoaded, "scripts loaded"),
            (
                progress.keysRepaired,
                "keys read again from the source (their records say too little, or were refused)"
            ),
        ]
        let told = losses.filter { $0.0 > 0 }
        guard !told.isEmpty else { return }
        add("")
        for (count, what) in told {
            add(PrintableText.padLeft(PrintableText.count(count), 14) + "  " + what)
        }
    }

    private mutating func addPositions() {
        let flows = outcome.report.progress.flows
        add("", "LSN by flow (the next record's)")
        let cells = flows.enumerated().map { index, flow in
            "\(index): " + (flow.appliedLSN == 0 ? "-" : String(flow.appliedLSN))
        }
        for start in stride(from: 0, to: cells.count, by: 6) {
            let line = cells[start..<min(start + 6, cells.count)]
            add("  " + line.joined(separator: "  "))
        }
        if outcome.settings.mode == .migrate && outcome.report.error == nil {
            add("Writes made on the source after these positions are NOT included.")
        }
    }

    // What the source may have left out is not in the counts: it has to be said beside them.
    private mutating func addRisks() {
        let risks = outcome.report.progress.sourceRisks
            .filter { $0.weight == .refused || $0.weight == .loss }
        guard !risks.isEmpty else { return }
        add("", "known of this source, the target may differ for it:")
        for risk in risks { add("  \(risk.name): \(risk.text)") }
    }

    private mutating func addDeadLetters() {
        let progress = outcome.report.progress.deadLetters
        if let path = outcome.deadLetterPath {
            add("", "failed records: \(PrintableText.count(progress.lines)) lines in " + path)
        }
        if let error = progress.error { add("", "cannot write failed.ndjson: \(error)") }
        guard progress.more > 0 else { return }
        add("failed records without a line: \(PrintableText.count(progress.more))")
    }

    private mutating func addFindings() {
        let progress = outcome.report.progress
        addFindings(.failed, "not applied", total: progress.failed)
        addFindings(.repair, "keys to repair, they may differ", total: progress.keysToRepair)
        addFindings(.kept, "kept as the target had them", total: progress.keysKept)
        addFindings(
            .skipped, "skipped", total: max(0, progress.skipped - progress.keysKept))
    }

    private mutating func addFindings(_ kind: Finding.Kind, _ title: String, total: Int) {
        let findings = outcome.report.progress.findings.filter { $0.kind == kind }
        guard total > 0 || !findings.isEmpty else { return }
        add("", "\(title): \(PrintableText.count(max(total, findings.count)))")
        for finding in findings.prefix(Self.namesLimit) {
            add(
                "  db \(finding.database)  \(PrintableText.name(finding.key))"
                    + "  \(PrintableText.name(finding.command, limit: 40))"
                    + "  \(PrintableText.name(finding.reason, limit: 200))")
        }
        let shown = min(findings.count, Self.namesLimit)
        guard total > shown else { return }
        var rest =
            shown == 0
            ? "  their names were not kept" : "  and \(PrintableText.count(total - shown)) more"
        if findings.count > shown {
            rest +=
                outcome.reportPath.map { "; \(findings.count) are named in \($0)" }
                ?? "; --state-dir DIR keeps a list"
        }
        add(rest)
    }
}
