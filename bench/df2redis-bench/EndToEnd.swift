import CPlatform
import DragonflySimulator
import Foundation

/// Whole runs of the df2redis binary: from the simulator into a real redis-server and into a sink,
/// beside the minimal sender with the same commands.
struct EndToEnd {
    let keys: Int
    let valueBytes: Int
    let runs: Int

    private struct Measured {
        var seconds: [Double] = []
        var cpuSeconds: [Double] = []
        var pssMiB: [Double] = []
    }

    func run() throws {
        let master = try startedMaster(flows: 1)
        defer { master.stop() }

        let redis = try RedisProcess()
        defer { redis.stop() }
        let sink = try NullSink()

        var intoRedis = Measured()
        var intoSink = Measured()
        var sender = Measured()
        for _ in 0..<runs {
            // Alternating, so that what else the machine does hits all alike.
            try redis.flush()
            try measure(&sender, ["send"] + senderArguments(redis.port))
            try redis.flush()
            try measure(&intoRedis, migrate(master.port, redis.port), program: "df2redis")
            try measure(&intoSink, migrate(master.port, sink.port), program: "df2redis")
        }
        let breaches = master.breaches
        guard breaches.isEmpty else { throw BenchError("the simulator saw \(breaches)") }

        let own = Series(intoRedis.cpuSeconds).median
        let least = Series(sender.cpuSeconds).median
        show("minimal sender into redis-server", sender)
        show("df2redis migrate into redis-server", intoRedis)
        show("df2redis migrate into a null sink", intoSink)
        report(
            "df2redis against the minimal sender",
            [
                "cpuRatio": own / least,
                "wallRatio": Series(intoRedis.seconds).median / Series(sender.seconds).median,
                "cpuMicrosecondsPerKey": own / Double(keys) * 1e6,
                "senderCpuMicrosecondsPerKey": least / Double(keys) * 1e6,
            ])
    }

    private func preparedMaster(flows: Int) throws -> SimulatorServer {
        var data = SyntheticData(seed: 1)
        data.flowCount = flows
        data.strings = .init(count: keys, elements: 0, elementBytes: valueBytes)
        // Encoded beforehand, so that the simulator takes no CPU from what is measured.
        var prepared = SnapshotOptions()
        prepared.compression = .none
        prepared.isPrepared = true
        return try SimulatorServer(source: .synthetic(data, encoding: prepared))
    }

    /// What a key costs with more cores, more flows, and more connections to the target: it should not
    /// depend on any. What is compared runs in turn. For flows and connections the program has a CPU to
    /// itself: the threads that 64 flows are sent by would come in between.
    func runScaling() throws {
        try runCores()
        let counts = [1, 4, 16, 64]
        // Threads that are made from now on stay there, too.
        let pinned = cp_pin_thread(cp_cpu_at(0))
        guard pinned == 0 else { throw BenchError("cannot stay on one CPU") }
        let masters = try counts.map { try startedMaster(flows: $0) }
        defer { masters.forEach { $0.stop() } }
        let sink = try NullSink()
        let clusters = try counts.map { try NullSink(clusterNodes: $0) }
        var byFlows = counts.map { _ in Measured() }
        var byNodes = counts.map { _ in Measured() }
        for _ in 0..<runs {
            for index in counts.indices {
                try measure(
                    &byFlows[index], migrate(masters[index].port, sink.port), program: "df2redis",
                    isAlone: true)
                try measure(
                    &byNodes[index], migrate(masters[1].port, clusters[index].port),
                    program: "df2redis", isAlone: true)
            }
        }
        for (index, count) in counts.enumerated() {
            show("\(count) flows into a null sink", byFlows[index])
        }
        for (index, count) in counts.enumerated() {
            show("4 flows into a cluster of \(count) null sinks", byNodes[index])
        }
        let flows = byFlows.map { Series($0.cpuSeconds).median }
        let nodes = byNodes.map { Series($0.cpuSeconds).median }
        report(
            "CPU per key against that with one",
            [
                "flows4": flows[1] / flows[0], "flows16": flows[2] / flows[0],
                "flows64": flows[3] / flows[0], "nodes4": nodes[1] / nodes[0],
                "nodes16": nodes[2] / nodes[0], "nodes64": nodes[3] / nodes[0],
            ])
    }

    private func runCores() throws {
        let master = try startedMaster(flows: 4)
        defer { master.stop() }
        let sinks = try [NullSink(), NullSink(clusterNodes: 4)]
        let names = ["a null sink", "a cluster of 4 null sinks"]
        let cores = [1, 2]
        var measured = sinks.map { _ in cores.map { _ in Measured() } }
        for _ in 0..<runs {
            for (sink, target) in sinks.enumerated() {
                for (index, count) in cores.enumerated() {
                    try measure(
                        &measured[sink][index], migrate(master.port, target.port, cores: count),
                        program: "df2redis")
                }
            }
        }
        for sink in sinks.indices {
            for (index, count) in cores.enumerated() {
                show("4 flows on \(count) cores into \(names[sink])", measured[sink][index])
            }
        }
        let ratios = measured.map { byCores in
            Series(byCores[1].cpuSeconds).median / Series(byCores[0].cpuSeconds).median
        }
        report(
            "CPU per key on 2 cores against 1",
            ["intoOneServer": ratios[0], "intoACluster": ratios[1]])
    }

    private func startedMaster(flows: Int) throws -> SimulatorServer {
        let master = try preparedMaster(flows: flows)
        try master.start()
        return master
    }

    private func show(_ name: String, _ measured: Measured) {
        let seconds = Series(measured.seconds)
        report(
            name,
            [
                "keys": Double(keys), "secondsMedian": seconds.median,
                "secondsMAD": seconds.deviation, "secondsMin": seconds.minimum,
                "secondsMax": seconds.maximum,
                "keysPerSecond": Double(keys) / seconds.median,
                "cpuMicrosecondsPerKey":
                    Series(measured.cpuSeconds).median / Double(keys) * 1e6,
                "pssMiBMax": measured.pssMiB.max() ?? 0,
            ])
    }

    private func senderArguments(_ port: UInt16) -> [String] {
        ["--port", "\(port)", "--keys", "\(keys)", "--value-bytes", "\(valueBytes)"]
    }

    private func migrate(_ source: UInt16, _ target: UInt16, cores: Int = 1) -> [String] {
        [
            "migrate", "--source", "127.0.0.1:\(source)", "--target", "127.0.0.1:\(target)",
            "--cores", "\(cores)", "--quiet",
        ]
    }

    private func measure(
        _ measured: inout Measured, _ arguments: [String], program: String = "df2redis-bench",
        isAlone: Bool = false
    ) throws {
        let usage = try ChildUsage.run(program, arguments, isAlone: isAlone)
        measured.seconds.append(usage.seconds)
        measured.cpuSeconds.append(usage.cpuSeconds)
        measured.pssMiB.append(usage.pssMiB)
    }
}

struct BenchError: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) {
        self.description = description
    }
}

/// What one child process used.
struct ChildUsage {
    var seconds: Double
    var cpuSeconds: Double
    /// Largest proportional set size seen.
    var pssMiB: Double

    /// Runs a program that was built beside this one, to its end.
    /// - Parameter isAlone: on the last CPU; the caller is on another one.
    static func run(
        _ program: String, _ arguments: [String], isAlone: Bool = false
    ) throws -> ChildUsage {
        let process = Process()
        let executable = Bundle.main.executableURL!.deletingLastPathComponent()
            .appendingPathComponent(program)
        process.executableURL = isAlone ? URL(fileURLWithPath: "/usr/bin/taskset") : executable
        let lastCPU = "\(ProcessInfo.processInfo.processorCount - 1)"
        process.arguments = (isAlone ? ["-c", lastCPU, executable.path] : []) + arguments
        process.standardOutput = FileHandle.nullDevice
        let before = childrenCPUSeconds()
        let start = cp_monotonic_nanoseconds()
        try process.run()
        var pss = 0.0
        while process.isRunning {
            pss = max(pss, pssMiB(process.processIdentifier))
            usleep(20_000)
        }
        process.waitUntilExit()
        let seconds = Double(cp_monotonic_nanoseconds() - start) / 1e9
        guard process.terminationStatus == 0 else {
            throw BenchError("\(program) ended with \(process.terminationStatus)")
        }
        return ChildUsage(
            seconds: seconds, cpuSeconds: childrenCPUSeconds() - before, pssMiB: pss)
    }

    private static func childrenCPUSeconds() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    private static func pssMiB(_ process: Int32) -> Double {
        guard
            let text = try? String(
                contentsOfFile: "/proc/\(process)/smaps_rollup", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Pss:") }),
            let kibibytes = line.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
        else { return 0 }
        return kibibytes / 1024
    }
}

/// A redis-server of our own, without persistence.
final class RedisProcess {
    let port: UInt16
    private let process = Process()

    init() throws {
        let listener = cp_listen_loopback(0)
        guard listener >= 0 else { throw BenchError("no free port") }
        port = UInt16(cp_local_port(listener))
        guard cp_close(listener) == 0 else { throw BenchError("cannot free a port") }
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            "redis-server", "--port", "\(port)", "--save", "", "--appendonly", "no",
        ]
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        for _ in 0..<100 {
            if (try? ask("PING")) == true { return }
            usleep(50_000)
        }
        throw BenchError("redis-server did not start")
    }

    func flush() throws {
        guard try ask("FLUSHALL", "SYNC") else { throw BenchError("FLUSHALL failed") }
    }

    func stop() {
        process.terminate()
        process.waitUntilExit()
    }

    private func ask(_ command: String...) throws -> Bool {
        let client = Process()
        client.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        client.arguments = ["redis-cli", "-p", "\(port)"] + command
        client.standardOutput = FileHandle.nullDevice
        client.standardError = FileHandle.nullDevice
        try client.run()
        client.waitUntilExit()
        return client.terminationStatus == 0
    }
}
