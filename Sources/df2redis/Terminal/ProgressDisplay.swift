import Glibc
import Logging
import Operations
import Replication
import Wire

/// Shows how a run is getting on: live on a terminal, else a line every few seconds and at each
/// change of phase.
struct ProgressDisplay {
    private enum Style {
        case live, lines, fields, none
    }

    static let lineIntervalNanoseconds: Int64 = 5_000_000_000

    private let console: Console
    private let logger: Logger
    private let style: Style
    private let title: String
    private let source: String
    private let target: String
    private let startNanoseconds: Int64
    private var meter = ProgressMeter()
    private var rates = ProgressMeter.Rates()
    private var lastLineNanoseconds: Int64
    private var lastNanoseconds: Int64
    private var lastPhase = Progress.Phase.connecting

    init(
        console: Console, logger: Logger, format: LogFormat, isQuiet: Bool, title: String,
        settings: ReplicationSettings, nanoseconds: Int64
    ) {
        self.console = console
        self.logger = logger
        self.title = title
        source = settings.source.description
        target = settings.target.description
        startNanoseconds = nanoseconds
        lastLineNanoseconds = nanoseconds
        lastNanoseconds = nanoseconds
        if isQuiet {
            style = .none
        } else if format == .json {
            style = .fields
        } else {
            style = console.isTerminal ? .live : .lines
        }
    }

    /// Shows a reading of the counters.
    mutating func update(_ progress: Progress, nanoseconds: Int64) {
        rates = meter.add(progress, nanoseconds: nanoseconds)
        lastNanoseconds = nanoseconds
        let view = ProgressView(
            title: title, source: source, target: target, progress: progress, rates: rates,
            elapsedSeconds: elapsedSeconds(nanoseconds))
        switch style {
        case .none: return
        case .live:
            let size = console.size
            console.show(
                frame: ProgressText.frame(
                    view, columns: size.columns, rows: size.rows, usesColor: console.usesColor))
        case .lines, .fields:
            let isDue = nanoseconds - lastLineNanoseconds >= Self.lineIntervalNanoseconds
            guard isDue || progress.phase != lastPhase else { return }
            lastLineNanoseconds = nanoseconds
            lastPhase = progress.phase
            if style == .lines {
                logger.info("\(ProgressText.line(view))")
            } else {
                logger.info("progress", metadata: ProgressText.fields(view))
            }
        }
    }

    /// What the run says of itself, with the rates of the last `update`.
    func status(_ settings: ReplicationSettings, _ progress: Progress) -> RunStatus {
        RunStatus(
            program: "df2redis " + programVersion, settings: settings, progress: progress,
            rates: rates, elapsedSeconds: elapsedSeconds(lastNanoseconds),
            processIdentifier: Int(getpid()))
    }

    /// Leaves the terminal clean for what follows; a log gets the last counts, by type.
    func finish(_ progress: Progress) {
        switch style {
        case .none: return
        case .live: console.clearFrame()
        case .lines, .fields:
            log("snapshot", progress.snapshotByType)
            log("journal", progress.journalByType)
        }
    }

    private func log(_ part: String, _ table: CountsByType) {
        for type in RecordType.allCases where table[type] != RecordCounts() {
            let counts = table[type]
            logger.info(
                "\(part) records of type \(type.name)",
                metadata: [
                    "read": .stringConvertible(counts.read),
                    "applied": .stringConvertible(counts.applied),
                    "filtered": .stringConvertible(counts.filtered),
                    "skipped": .stringConvertible(counts.skipped),
                    "repaired": .stringConvertible(counts.repaired),
                    "failed": .stringConvertible(counts.failed),
                    "pending": .stringConvertible(counts.pending),
                ])
        }
    }

    func elapsedSeconds(_ nanoseconds: Int64) -> Int {
        Int((nanoseconds - startNanoseconds) / 1_000_000_000)
    }
}
