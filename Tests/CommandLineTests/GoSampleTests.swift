import Foundation
import Replication
import Testing

@testable import df2redis

/// The earlier tool's configuration keeps working: each key is in effect or answered with a reason.
struct GoSampleTests {
    private let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("Fixtures/go-sample.yaml").path

    private var resolver: ConfigurationResolver {
        ConfigurationResolver(file: ConfigurationFile(path: path), environment: [:], flags: [])
    }

    @Test func everyKeyIsAccepted() throws {
        let (settings, problems) = resolver.settings(mode: .replicate)
        #expect(problems == [])
        let found = try #require(settings)
        #expect(found.source.description == "127.0.0.1:6379")
        #expect(found.source.password == nil)
        #expect(found.target.description == "127.0.0.1:6380")
        #expect(found.target.password == "target secret")
        #expect(found.mode == .replicate)
        #expect(found.stateDirectory?.hasSuffix("Fixtures/../out") == true)
        #expect("\(resolver.configuration.logLevel)" == "debug")
        #expect(resolver.configuration.isQuiet == false)
    }

    /// The sample holds every key of the earlier tool, so that the notices below are complete.
    @Test func sampleIsComplete() {
        let file = ConfigurationFile(path: path)
        #expect(
            Set(file.entries.map(\.path)) == [
                "taskName", "stateDir", "statusFile", "source.type", "source.addr",
                "source.password", "source.tls", "target.type", "target.addr", "target.password",
                "target.tls", "target.cluster.seeds", "dashboard.addr", "checkpoint.enabled",
                "checkpoint.intervalSeconds", "checkpoint.path", "log.dir", "log.level",
                "log.consoleEnabled", "conflict.policy", "advanced.qps", "advanced.batchSize",
                "migrate.snapshotPath", "migrate.shakeBinary", "migrate.shakeArgs",
                "migrate.shakeConfigFile", "migrate.autoBgsave", "migrate.bgsaveTimeoutSeconds",
                "migrate.snapshotOnly",
            ])
    }

    @Test func keysWithoutEffectAreAnsweredOnce() {
        let notices = resolver.notices
        #expect(notices.allSatisfy { $0.weight == .note })
        #expect(
            notices.filter { $0.reason.hasPrefix("no longer needed: ") }.compactMap(\.key) == [
                "log.dir", "migrate.snapshotPath", "migrate.shakeBinary", "migrate.shakeArgs",
                "migrate.shakeConfigFile", "migrate.autoBgsave", "migrate.bgsaveTimeoutSeconds",
                "advanced.batchSize",
            ])
        #expect(
            notices.filter { $0.reason.hasPrefix("not in this version: ") }.compactMap(\.key) == [
                "statusFile", "dashboard.addr", "checkpoint.enabled", "checkpoint.intervalSeconds",
                "checkpoint.path",
            ])
        #expect(notices.count == 13)
    }
}
