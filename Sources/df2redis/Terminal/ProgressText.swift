import Logging
import Operations
import Replication

/// What a progress display knows at one moment.
struct ProgressView {
    /// `df2redis migrate`.
    var title: String
    var source: String
    var target: String
    var progress: Progress
    var rates: ProgressMeter.Rates
    var elapsedSeconds: Int

    /// Share of the source's keys that are done, 0...100; nil if their number is not known. Keys
    /// written during the snapshot can make more than were there at first.
    var percent: Double? {
        guard progress.sourceKeys > 0 else { return nil }
        return min(100, 100 * Double(progress.snapshot.done) / Double(progress.sourceKeys))
    }

    /// Time to the end of the snapshot at the present rate.
    var secondsLeft: Int? {
        let left = progress.sourceKeys - progress.snapshot.done
        guard progress.phase == .snapshot, left > 0, rates.keys >= 1 else { return nil }
        let seconds = Double(left) / rates.keys
        return seconds < 1e7 ? Int(seconds.rounded(.up)) : nil
    }
}

/// The words of the progress display.
enum ProgressText {
    /// The lines of the live display, each at most `columns` wide, at most `rows` - 1 of them.
    static func frame(_ view: ProgressView, columns: Int, rows: Int, usesColor: Bool) -> [String] {
        var lines = [
            StyledLine([
                (view.title, .bold), ("  \(view.source) -> \(view.target)", nil),
                ("  \(PrintableText.duration(seconds: view.elapsedSeconds))", .dim),
            ]),
            phaseLine(view, columns: columns),
            countsLine(view),
        ]
        if let text = RunStatus.holdText(view.progress) {
            lines.append(StyledLine([(text, .yellow)]))
        }
        let flows = view.progress.flows
        // The last row stays free for the cursor, one is the lanes' header.
        let room = max(0, rows - 1 - lines.count - 1)
        if !flows.isEmpty && room > 0 {
            lines.append(StyledLine([(laneHeader, .dim)]))
            let shown = flows.count <= room ? flows.count : room - 1
            for index in 0..<shown { lines.append(lane(index, flows[index])) }
            if shown < flows.count {
                lines.append(StyledLine([("  and \(flows.count - shown) more flows", .dim)]))
            }
        }
        return lines.prefix(max(1, rows - 1)).map {
            $0.text(columns: columns, usesColor: usesColor)
        }
    }

    /// The same in one line without colours, for a log.
    static func line(_ view: ProgressView) -> String {
        let progress = view.progress
        var parts = [progress.phase.name]
        if progress.phase < .stable {
            if let percent = view.percent { parts.append(PrintableText.tenths(percent) + " %") }
            parts.append(keysText(view) + ", " + rate(view.rates.keys, "keys"))
            if let seconds = view.secondsLeft {
                parts.append("ETA " + PrintableText.duration(seconds: seconds))
            }
        } else {
            parts.append("\(PrintableText.count(progress.snapshot.done)) keys")
        }
        if progress.phase >= .stable || progress.journal.read > 0 {
            parts.append(
                "\(PrintableText.count(progress.journal.done)) records, "
                    + rate(view.rates.records, "records"))
        }
        parts.append("read " + PrintableText.bytes(progress.bytesRead))
        if let text = RunStatus.holdText(progress) { parts.append(text) }
        for part in countParts(progress) {
            parts.append("\(part.name) \(PrintableText.count(part.count))")
        }
        return parts.joined(separator: "; ")
    }

    /// The same as named values, for a JSON log.
    static func fields(_ view: ProgressView) -> Logger.Metadata {
        let progress = view.progress
        var fields: Logger.Metadata = [
            "phase": .string(progress.phase.name),
            "keys_done": .stringConvertible(progress.snapshot.done),
            "source_keys": .stringConvertible(progress.sourceKeys),
            "keys_per_second": .stringConvertible(view.rates.keys.rounded()),
            "records_done": .stringConvertible(progress.journal.done),
            "records_per_second": .stringConvertible(view.rates.records.rounded()),
            "bytes_read": .stringConvertible(progress.bytesRead),
            "bytes_sent": .stringConvertible(progress.bytesSent),
            "pending": .stringConvertible(progress.pending),
            "skipped": .stringConvertible(progress.skipped),
            "failed": .stringConvertible(progress.failed),
            "repairing": .stringConvertible(progress.repairsOpen),
            "keys_repaired": .stringConvertible(progress.keysRepaired),
            "keys_to_repair": .stringConvertible(progress.keysToRepair),
            "hold": .string(progress.hold.name),
            "elapsed_seconds": .stringConvertible(view.elapsedSeconds),
            "applied_lsn": .array(progress.flows.map { .stringConvertible($0.appliedLSN) }),
        ]
        if let percent = view.percent {
            fields["percent"] = .stringConvertible((percent * 10).rounded() / 10)
        }
        if let seconds = view.secondsLeft { fields["eta_seconds"] = .stringConvertible(seconds) }
        return fields
    }

    private static func phaseLine(_ view: ProgressView, columns: Int) -> StyledLine {
        let progress = view.progress
        let phase = PrintableText.padRight(progress.phase.name, 12)
        guard progress.phase < .stable else {
            let records = PrintableText.count(progress.journal.done)
            return StyledLine([
                (phase, .green), ("  \(records) records", nil),
                ("  " + rate(view.rates.records, "records"), .cyan),
                ("  after \(PrintableText.count(progress.snapshot.done)) keys", nil),
            ])
        }
        var parts: [(String, Console.Color?)] = []
        if let percent = view.percent {
            parts.append(("  " + PrintableText.tenths(percent) + " %", .bold))
        }
        parts.append(("  " + keysText(view), nil))
        parts.append(("  " + rate(view.rates.keys, "keys"), .cyan))
        if let seconds = view.secondsLeft {
            parts.append(("  ETA " + PrintableText.duration(seconds: seconds), nil))
        }
        // The bar takes what the numbers leave, and is the first to go on a narrow terminal.
        let used = parts.reduce(phase.count + "  []".count + 1) { $0 + $1.0.count }
        let cells = min(30, columns - used)
        if let percent = view.percent, cells >= 10 {
            let full = String(repeating: "=", count: Int(Double(cells) * percent / 100))
            parts.insert(("  [" + PrintableText.padRight(full, cells) + "]", nil), at: 0)
        }
        return StyledLine([(phase, .cyan)] + parts)
    }

    private static func countsLine(_ view: ProgressView) -> StyledLine {
        let progress = view.progress
        // Failures first: the end of the line is lost on a narrow terminal.
        var parts: [(String, Console.Color?)] = []
        for part in countParts(progress) {
            let gap = parts.isEmpty ? "" : "  "
            let color = part.count > 0 ? part.color : nil
            parts.append(("\(gap)\(part.name) \(PrintableText.count(part.count))", color))
        }
        parts += [
            ("  read " + PrintableText.bytes(progress.bytesRead), nil),
            (" (\(PrintableText.bytes(Int(view.rates.bytesRead)))/s)", .dim),
            ("  sent " + PrintableText.bytes(progress.bytesSent), nil),
            (" (\(PrintableText.bytes(Int(view.rates.bytesSent)))/s)", .dim),
        ]
        return StyledLine(parts)
    }

    private static func countParts(
        _ progress: Progress
    ) -> [(name: String, count: Int, color: Console.Color?)] {
        var parts: [(name: String, count: Int, color: Console.Color?)] = [
            ("pending", progress.pending, nil), ("skipped", progress.skipped, .yellow),
            ("failed", progress.failed, .red), ("to repair", progress.keysToRepair, .red),
        ]
        // Most runs never have any, and the line is full as it is.
        if progress.repairsOpen > 0 {
            parts.insert(("repairing", progress.repairsOpen, nil), at: 2)
        }
        return parts
    }

    private static let laneHeader =
        "flow  phase              keys      records     applied LSN    pending   failed"

    private static func lane(_ index: Int, _ flow: FlowProgress) -> StyledLine {
        let lsn = flow.appliedLSN == 0 ? "-" : PrintableText.count(flow.appliedLSN)
        let failed = flow.snapshot.failed + flow.journal.failed
        let numbers =
            PrintableText.padLeft(PrintableText.count(flow.snapshot.done), 13)
            + PrintableText.padLeft(PrintableText.count(flow.journal.done), 13)
            + PrintableText.padLeft(lsn, 16)
            + PrintableText.padLeft(
                PrintableText.count(flow.snapshot.pending + flow.journal.pending), 11)
        return StyledLine([
            (PrintableText.padLeft(String(index), 4) + "  ", nil),
            (PrintableText.padRight(flow.phase.name, 10), color(of: flow.phase)),
            (numbers, nil),
            (PrintableText.padLeft(PrintableText.count(failed), 9), failed > 0 ? .red : nil),
        ])
    }

    private static func color(of phase: FlowProgress.Phase) -> Console.Color? {
        switch phase {
        case .connecting: .dim
        case .snapshot, .tail: .cyan
        case .stable, .finished: .green
        }
    }

    private static func keysText(_ view: ProgressView) -> String {
        let done = PrintableText.count(view.progress.snapshot.done)
        guard view.progress.sourceKeys > 0 else { return "\(done) keys" }
        return "\(done) of \(PrintableText.count(view.progress.sourceKeys)) keys"
    }

    private static func rate(_ perSecond: Double, _ unit: String) -> String {
        PrintableText.count(Int(max(0, perSecond).rounded())) + " \(unit)/s"
    }
}

/// A line of coloured parts that can be cut to a width.
private struct StyledLine {
    let parts: [(text: String, color: Console.Color?)]

    init(_ parts: [(String, Console.Color?)]) {
        self.parts = parts
    }

    func text(columns: Int, usesColor: Bool) -> String {
        // A line that fills the last column would wrap on some terminals.
        var room = max(1, columns - 1)
        var line = ""
        for part in parts where room > 0 {
            let text = String(PrintableText.escaped(part.text).prefix(room))
            room -= text.count
            if usesColor, let color = part.color {
                line += "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m"
            } else {
                line += text
            }
        }
        return line
    }
}
