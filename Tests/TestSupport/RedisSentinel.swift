import Foundation

/// A redis-server, a replica of it, and a sentinel that watches them on the loopback interface. They
/// are stopped when the last reference goes.
public final class RedisSentinel: @unchecked Sendable {
    // Sendable: nothing changes after init.

    /// The first one is the master at the start.
    public let servers: [RedisServer]
    public let port: UInt16
    public let masterName = "mymaster"
    private let sentinel: ChildProcess
    private let directory: TemporaryDirectory

    public init() throws {
        let master = try RedisServer()
        let replica = try RedisServer(
            arguments: [
                "--replicaof", "127.0.0.1 \(master.port)", "--repl-diskless-sync-delay", "0",
            ])
        servers = [master, replica]
        port = try RedisServer.freePort()
        directory = try TemporaryDirectory(prefix: "df2redis-sentinel")
        let file = directory.file("sentinel.conf")
        let lines = [
            "port \(port)", "bind 127.0.0.1", "dir \(directory.path)",
            "sentinel monitor \(masterName) 127.0.0.1 \(master.port) 1",
            "sentinel down-after-milliseconds \(masterName) 1000",
            "sentinel failover-timeout \(masterName) 10000",
        ]
        try lines.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
        sentinel = try ChildProcess(try TargetServer.system.path(), [file, "--sentinel"])
        try wait(until: "the sentinel knows the replica") {
            let replicas = try RespClient(port: port).call("SENTINEL", "REPLICAS", masterName)
            return replicas.elements?.count == 1
        }
        try wait(until: "the replica follows") {
            try replica.client().call("INFO", "replication").text?
                .contains("master_link_status:up") ?? false
        }
    }

    /// The index of the server that the sentinel calls master.
    public func master() throws -> Int {
        let address = try RespClient(port: port)
            .call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", masterName).elements
        guard let port = address?.last?.text.flatMap({ UInt16($0) }),
            let index = servers.firstIndex(where: { $0.port == port })
        else { throw TestSupportError("the sentinel knows no master") }
        return index
    }

    /// Has the replica take over in agreement; returns when the sentinel says so.
    public func failOver() throws {
        let before = try master()
        try RespClient(port: port).call("SENTINEL", "FAILOVER", masterName)
        try waitUntil(masterIsNot: before)
    }

    public func waitUntil(masterIsNot index: Int) throws {
        try wait(until: "another master") { try master() != index }
    }

    private func wait(until what: String, _ condition: () throws -> Bool) throws {
        let deadline = Date(timeIntervalSinceNow: 60)
        while Date() < deadline {
            if (try? condition()) == true { return }
            usleep(15_000)
        }
        throw TestSupportError("waited 60 s until \(what)")
    }
}

/// A target of several servers, of which others take over.
public protocol MovingTarget: AnyObject, Sendable {
    /// How a program is told of it.
    var address: String { get }
    var servers: [RedisServer] { get }
    var databaseCount: Int { get }
    /// All that it holds.
    func state() throws -> ServerState
}

extension RedisSentinel: MovingTarget {
    public var address: String { "redis-sentinel://127.0.0.1:\(port)/\(masterName)" }
    public var databaseCount: Int { 16 }

    public func state() throws -> ServerState {
        try StateReader(servers[master()].client()).read()
    }
}

extension RedisCluster: MovingTarget {
    public var databaseCount: Int { 1 }
}
