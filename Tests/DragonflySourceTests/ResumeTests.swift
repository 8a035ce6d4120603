import Bytes
import DragonflySource
import Testing

/// Promise: an LSN is asked for only where that is known to be safe, and what follows PARTIAL is
/// what the release needs (protocol.md 8.1, 8.2).
@Suite struct ResumeTests {
    private func settings(
        _ lsns: [UInt64] = [384, 390], id: String = Master().replicationID
    ) -> ControlSettings {
        ControlSettings(
            listeningPort: 1, clientID: "task",
            position: ResumePosition(replicationID: id, lsns: lsns))
    }

    @Test func allPartialGoesStraightToStable() throws {
        let master = Master()
        let driver = try ControlDriver(settings())
        let flows = try driver.shakeHands(master)
        #expect(flows.map(\.resumeLSN) == [384, 390])
        #expect(flows.allSatisfy { $0.partialSync == .straightToStable })
        #expect(driver.flowReady(1, .partial) == .none)
        #expect(driver.flowReady(0, .partial) == .none)
        #expect(driver.sent.last == ["DFLY", "STARTSTABLE", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.enteredStable])
        #expect(driver.count(["DFLY", "SYNC", "SYNC7"]) == 0)
        #expect(driver.session.resumeObstacle == nil)
    }

    @Test(arguments: ["df-v1.11.0", "df-v1.20.1", "df-v1.31.0", "df-v1.34.2"])
    func olderReleasesNeedSync(_ release: String) throws {
        var master = Master()
        master.release = release
        let driver = try ControlDriver(settings())
        let flows = try driver.shakeHands(master)
        #expect(flows.map(\.resumeLSN) == [384, 390])
        _ = driver.flowReady(0, .partial)
        _ = driver.flowReady(1, .partial)
        #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        #expect(driver.receive("+OK\r\n") == [.startedFullSync])
        _ = driver.flowEndedFullSync(0)
        #expect(driver.count(["DFLY", "STARTSTABLE", "SYNC7"]) == 0)
        _ = driver.flowEndedFullSync(1)
        #expect(driver.count(["DFLY", "STARTSTABLE", "SYNC7"]) == 1)
    }

    @Test func obstacles() throws {
        let other = String(repeating: "b", count: 40)
        let rows: [(String?, ControlSettings, ResumeObstacle)] = [
            (nil, settings(), .unknownRelease),
            ("df-dev", settings(), .unknownRelease),
            ("df-v1.10.0", settings(), .unsupportedRelease),
            ("df-v1.21.0", settings(), .unsupportedRelease),
            ("df-v1.30.3", settings(), .unsupportedRelease),
            ("df-v1.34.0-60-gabcdef", settings(), .unsupportedRelease),
            ("df-v1.40.0", settings(id: other), .otherSource),
            ("df-v1.40.0", settings([1]), .otherFlowCount),
            ("df-v1.40.0", settings([1, 2, 3]), .otherFlowCount),
            ("df-v1.40.0", settings([]), .otherFlowCount),
            ("df-v1.40.0", settings([0, 7]), .invalidPosition),
            ("df-v1.40.0", settings([7, 1 << 63]), .invalidPosition),
        ]
        for (release, settings, obstacle) in rows {
            var master = Master()
            master.release = release
            let driver = try ControlDriver(settings)
            let flows = try driver.shakeHands(master)
            #expect(flows.allSatisfy { $0.resumeLSN == nil })
            #expect(driver.session.resumeObstacle == obstacle)
            #expect(driver.flowReady(0, .full) == .none)
            #expect(driver.flowReady(1, .full) == .none)
            #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        }
    }

    @Test func allFullAfterAskingIsAFullSync() throws {
        let driver = try ControlDriver(settings())
        _ = try driver.shakeHands(Master())
        _ = driver.flowReady(0, .full)
        _ = driver.flowReady(1, .full)
        #expect(driver.sent.last == ["DFLY", "SYNC", "SYNC7"])
        #expect(driver.session.resumeObstacle == .evicted)
        #expect("\(ResumeObstacle.evicted)".contains("--shard_repl_backlog"))
    }

    @Test func aMixIsGivenUp() throws {
        for kinds in [[SyncKind.full, .partial], [.partial, .full]] {
            let driver = try ControlDriver(settings())
            _ = try driver.shakeHands(Master())
            let sent = driver.sent.count
            #expect(driver.flowReady(0, kinds[0]) == .none)
            #expect(driver.flowReady(1, kinds[1]) == .leaveFlows)
            #expect(driver.session.failure?.kind == .restartInFull)
            #expect(driver.sent.count == sent)
        }
    }

    /// A flow that was answered PARTIAL stays so, whatever is reported later.
    @Test func theFirstReportOfAFlowCounts() throws {
        let driver = try ControlDriver(settings())
        _ = try driver.shakeHands(Master())
        #expect(driver.flowReady(0, .partial) == .none)
        #expect(driver.flowReady(0, .full) == .none)
        #expect(driver.flowReady(1, .full) == .leaveFlows)
        #expect(driver.count(["DFLY", "SYNC", "SYNC7"]) == 0)
    }

    @Test func partialWithoutAskingIsAnError() throws {
        let driver = try ControlDriver()
        _ = try driver.shakeHands(Master())
        #expect(driver.flowReady(0, .partial) == .leaveFlows)
        #expect(driver.session.failure?.kind == .restart)
    }
}
