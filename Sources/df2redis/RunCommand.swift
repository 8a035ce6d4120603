import CPlatform
import Glibc
import Logging
import Operations
import Replication

/// What `migrate` and `replicate` have in common: all but the mode.
struct RunCommand {
    let mode: ReplicationSettings.Mode
    let options: RunOptions
    private let console: Console
    private let logger: Logger
    private let resolver: ConfigurationResolver

    private var configuration: Configuration { resolver.configuration }

    init(mode: ReplicationSettings.Mode, options: RunOptions) {
        self.mode = mode
        self.options = options
        let environment = ProcessEnvironment.variables()
        resolver = ConfigurationResolver(
            file: options.config.map { ConfigurationFile(path: $0) }, environment: environment,
            flags: options.settings)
        let console = Console(descriptor: STDERR_FILENO, environment: environment)
        self.console = console
        let configuration = resolver.configuration
        let level =
            configuration.isQuiet ? max(configuration.logLevel, .warning) : configuration.logLevel
        logger = ConsoleLogHandler.logger(
            console: console, format: configuration.logFormat, logLevel: level)
    }

    /// Runs the command; returns the exit code.
    func run() -> Int32 {
        let (settings, problems) = resolver.settings(mode: mode)
        guard let settings else {
            for problem in problems { logger.error("\(problem)") }
            return ExitStatus.usage
        }
        for notice in resolver.notices {
            logger.log(level: notice.weight == .warning ? .warning : .info, "\(notice)")
        }
        if mode == .replicate && settings.mode == .migrate {
            logger.warning("migrate.snapshotOnly is true: the run ends after the snapshot")
        }
        return options.dryRun ? rehearse(settings) : replicate(settings)
    }

    private func rehearse(_ settings: ReplicationSettings) -> Int32 {
        let lines: [String]
        do throws(RunError) {
            lines = try Replicator.rehearse(settings)
        } catch {
            logger.error("\(error.message)")
            return ExitStatus.of(error)
        }
        let rows = configuration.effectiveRows(settings: settings)
        var text = ""
        if configuration.logFormat == .json {
            let object = JSONValue.object([
                ("version", .integer(RunOutcome.reportVersion)), ("dryRun", .boolean(true)),
                ("configuration", .object(rows.map { ($0.key, .string($0.value)) })),
                ("checks", .array(lines.map { .string($0) })),
            ])
            text = object.compactText + "\n"
        } else {
            for row in rows {
                let origin = row.origin.map { "  (\($0))" } ?? ""
                let line = PrintableText.padRight(row.key, 32) + row.value + origin
                text += PrintableText.escaped(line) + "\n"
            }
            text += "\n" + lines.map { PrintableText.escaped($0) + "\n" }.joined()
            text += "dry run: nothing was written\n"
        }
        return printResult(text) ? ExitStatus.success : ExitStatus.failures
    }

    private func replicate(_ settings: ReplicationSettings) -> Int32 {
        var control: ControlServer?
        if let directory = settings.stateDirectory {
            do throws(FileFailure) {
                try Files.makeDirectory(directory)
            } catch {
                logger.error("stateDir: \(error)")
                return ExitStatus.usage
            }
            do throws(ControlServer.Failure) {
                control = try ControlServer(directory: directory)
            } catch {
                logger.error("stateDir: \(error)")
                return ExitStatus.usage
            }
        }
        defer { control?.close() }
        // Before any thread starts, so that all of them leave the signals to this one.
        let signals = cp_signal_descriptor()
        guard signals >= 0 else {
            logger.error("no signals: \(String(cString: strerror(-signals)))")
            return ExitStatus.failures
        }
        defer { cp_close(signals) }

        let start = cp_monotonic_nanoseconds()
        let name = settings.mode == .migrate ? "migrate" : "replicate"
        logger.info("\(name): \(settings.source) to \(settings.target)")
        var report: RunReport
        var stopSignal: Int32?
        do throws(RunError) {
            let display = ProgressDisplay(
                console: console, logger: logger, format: configuration.logFormat,
                isQuiet: configuration.isQuiet, title: "df2redis " + name, settings: settings,
                nanoseconds: start)
            var session = RunSession(
                job: try Replicator(settings: settings), signalDescriptor: signals, logger: logger,
                display: display, control: control)
            report = session.run()
            stopSignal = session.stopSignal
        } catch {
            report = RunReport(progress: Progress(), error: error, stopped: false)
        }
        if let error = report.error { logger.error("\(error.message)") }
        let elapsed = Int((cp_monotonic_nanoseconds() - start) / 1_000_000_000)
        return finish(
            RunOutcome(
                settings: settings, report: report, stopSignal: stopSignal,
                elapsedSeconds: elapsed))
    }

    // The result counts as delivered only if both places took it.
    private func finish(_ outcome: RunOutcome) -> Int32 {
        var outcome = outcome
        if let path = outcome.reportPath {
            do throws(FileFailure) {
                try Files.replace(path, with: outcome.json.indentedText)
            } catch {
                logger.error("the report is not written: \(error)")
                outcome.canWriteReport = false
            }
        }
        let isJSON = configuration.logFormat == .json
        let text = isJSON ? outcome.json.compactText + "\n" : Summary.text(outcome)
        let status = outcome.exitStatus
        return printResult(text) ? status : ExitStatus.undelivered(status)
    }

    private func printResult(_ text: String) -> Bool {
        let code = Files.writeAll(text.utf8, to: STDOUT_FILENO)
        if code != 0 {
            logger.error("standard output: \(String(cString: strerror(code)))")
        }
        return code == 0
    }
}
