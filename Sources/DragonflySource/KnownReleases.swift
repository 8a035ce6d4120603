/// What is known to be wrong with a range of Dragonfly releases, as far as it touches a replica
/// (protocol.md 9.1; docs/guides/source-releases.md has the same table).
public struct KnownProblem: Sendable, Equatable {
    /// What it means for a run.
    public enum Weight: String, Sendable, CaseIterable {
        /// The target would very likely differ: the run does not begin unless the operator accepts
        /// it.
        case refused
        /// The target may differ, and nothing in the stream tells where.
        case loss
        /// The source may stall or crash.
        case harm
        /// df2redis knows and does what is needed; it costs something.
        case handled
    }

    /// A release as (minor, patch) of Dragonfly 1.
    typealias Number = (minor: Int, patch: Int)

    /// Stable name, for scripts that read the report.
    public let name: String
    public let weight: Weight
    /// What goes wrong, and when.
    public let problem: String
    /// The flag, release or habit that avoids it.
    public let advice: String
    /// The first release that has it; nil: the first of all.
    let since: Number?
    /// The first release without it; nil: none is known.
    let fixed: Number?
    /// The setting that it depends on, nil for none.
    let condition: Condition?

    /// A setting of the source.
    struct Condition: Sendable, Equatable {
        /// As CONFIG GET, or INFO, names it.
        let setting: String
        /// The value that has the problem.
        let value: String
        /// Whether that value is the releases' default: it holds then unless the source denies it.
        let isDefault: Bool
    }

    init(
        _ name: String, _ weight: Weight, since: Number? = nil, fixed: Number? = nil,
        when condition: Condition? = nil, _ problem: String, _ advice: String
    ) {
        self.name = name
        self.weight = weight
        self.since = since
        self.fixed = fixed
        self.condition = condition
        self.problem = problem
        self.advice = advice
    }

    public static func == (left: KnownProblem, right: KnownProblem) -> Bool {
        left.name == right.name
    }

    /// Whether a source has it.
    /// - Parameter settings: what the source told of its settings; it does not tell all.
    func concerns(_ release: SourceRelease, settings: [String: String]) -> Bool {
        let number = (release.major, release.minor, release.patch)
        if let since, number < (1, since.minor, since.patch) { return false }
        if let fixed, number >= (1, fixed.minor, fixed.patch) { return false }
        guard let condition else { return true }
        guard let value = settings[condition.setting] else { return condition.isDefault }
        return value == condition.value
    }

    /// The releases that have it, as the guide names them.
    var range: String {
        switch (since, fixed) {
        case (nil, nil): "all"
        case (nil, let fixed?): "before v1.\(fixed.minor).\(fixed.patch)"
        case (let since?, nil): "v1.\(since.minor).\(since.patch) and later"
        case (let since?, let fixed?):
            "v1.\(since.minor).\(since.patch) to before v1.\(fixed.minor).\(fixed.patch)"
        }
    }
}

/// The table of known problems, and the look-up.
public enum KnownReleases {
    /// Settings that rows depend on and CONFIG GET may tell.
    public static let settings = ["journal_omit_redundant_writes", "point_in_time_snapshot"]

    /// The problems of one source, the weightiest first.
    /// - Parameters:
    ///   - release: nil if the source does not tell.
    ///   - settings: by name, as far as the source tells.
    public static func problems(
        of release: SourceRelease?, settings: [String: String]
    ) -> [KnownProblem] {
        guard let release else { return [unknownRelease] }
        return KnownProblem.Weight.allCases.flatMap { weight in
            table.filter { $0.weight == weight && $0.concerns(release, settings: settings) }
        }
    }

    static let unknownRelease = KnownProblem(
        "unknown-release", .loss,
        "the source does not tell its release, so what is known to be wrong with it cannot be told",
        "grant +info on the source")

    /// Ranges come from Dragonfly's history: the tags that contain a change.
    static let table: [KnownProblem] = [
        KnownProblem(
            "too-old", .refused, fixed: (20, 0),
            "df2redis was never tested with a release before v1.20, and JSON values of v1.14.1 and"
                + " earlier have the type code of another type",
            "upgrade the source to v1.20 or later first"),
        // A change may be in the baseline and in a record after it (protocol.md 3.8).
        KnownProblem(
            "not-point-in-time", .refused, since: (32, 0), fixed: (38, 0),
            when: .init(setting: "point_in_time_snapshot", value: "false", isDefault: false),
            "with point_in_time_snapshot=false what is written during the full sync can arrive twice,"
                + " or in the wrong order",
            "CONFIG SET point_in_time_snapshot true on the source"),
        // Dragonfly's issue 8153; the setting cannot be read by CONFIG GET up to v1.40.1.
        KnownProblem(
            "omitted-writes", .loss, since: (39, 0),
            when: .init(setting: "journal_omit_redundant_writes", value: "true", isDefault: true),
            "with journal_omit_redundant_writes, the default, keys can be missing from the snapshot"
                + " and the journal if many new keys are written during the full sync",
            "start the source with --journal_omit_redundant_writes=false, or let nobody write new"
                + " keys during the full sync; compare both sides before you switch"),
        // Fixed by Dragonfly's change 7260.
        KnownProblem(
            "double-apply", .loss, since: (21, 0), fixed: (38, 2),
            "changes that depend on the value before them (pushes to lists, INCR ...), made while"
                + " their key is being sent in the full sync, can arrive twice",
            "upgrade the source to v1.38.2 or later, or let nobody write during the full sync; compare"
                + " both sides before you switch"),
        // Fixed by change 8082, which no release has yet.
        KnownProblem(
            "past-expiry", .loss, fixed: (40, 2),
            "SET with an expiry in the past deletes the key on the source without a record: it stays"
                + " on the target",
            "have the application use DEL; compare both sides before you switch"),
        // Changes 7936, 7937, 7938 and 7948.
        KnownProblem(
            "unjournaled-fields", .loss, fixed: (40, 0),
            "when the last fields of a hash or members of a set expire by themselves, the key goes"
                + " without a record: it can stay on the target",
            "upgrade the source to v1.40 or later, if expiries of single fields or members are in"
                + " use"),
        // Issue 3649.
        KnownProblem(
            "cancel-deadlock", .harm, fixed: (23, 0),
            "a replica that is too slow in the full sync, and dropped for it, can leave the source"
                + " deadlocked",
            "upgrade to v1.23 or later, or start it with --replication_timeout=600000; copy into a"
                + " target that keeps up"),
        KnownProblem(
            "short-patience", .harm, fixed: (22, 0),
            "writers are held up, and the replica is dropped, when a flow has not been read for half"
                + " a second",
            "start the source with --replication_stream_timeout=30000; copy into a target that keeps"
                + " up"),
        // Issue 4965; v1.28.32 and later of that line have the change, too.
        KnownProblem(
            "cache-mode-race", .harm, fixed: (32, 0),
            when: .init(setting: "cache_mode", value: "cache", isDefault: false),
            "with cache_mode the snapshot can deadlock a shard",
            "upgrade to v1.32 or later"),
        KnownProblem(
            "abrupt-end", .harm, fixed: (37, 0),
            "the source was seen to hang after a replica's connections were reset",
            "end df2redis with SIGINT or SIGTERM, never with SIGKILL"),
        // Issue 6975.
        KnownProblem(
            "xread-crash", .harm, since: (37, 0), fixed: (38, 0),
            "the source crashes when XREAD BLOCK is answered while a replica is connected",
            "upgrade to v1.38 or later, or stop readers that use XREAD BLOCK"),
        KnownProblem(
            "unsettled-xadd", .handled, fixed: (27, 0),
            "XADD with * and trims with ~ are in the journal as they were given: their streams are"
                + " read again from the source",
            "upgrade to v1.27 or later if streams are written often"),
        KnownProblem(
            "unjournaled-groups", .handled, fixed: (37, 0),
            "what consumer groups read is not in the journal: streams with groups are right only"
                + " when the run has ended",
            "stop the groups' readers before you end the run"),
    ]
}
