// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

// Exclusivity checks cost a runtime call per access on the hot path; Tests/run
// turns them on again, and debug builds keep them, so violations are still found.
let hot =
    strict + [.unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))]

let package = Package(
    name: "df2redis",
    products: [
        .executable(name: "df2redis", targets: ["df2redis"]),
        .executable(name: "df2redis-simulator", targets: ["df2redis-simulator"]),
        .executable(name: "df2redis-bench", targets: ["df2redis-bench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .target(name: "CPlatform", path: "CSupport/CPlatform"),
        .target(
            name: "CCodec", path: "CSupport/CCodec",
            linkerSettings: [
                .linkedLibrary("lz4"), .linkedLibrary("zstd"),
            ]),
        .target(name: "CAllocGate", path: "CSupport/CAllocGate"),

        .target(name: "Bytes", dependencies: ["CPlatform", "CCodec"], swiftSettings: hot),
        .target(name: "Reactor", dependencies: ["Bytes", "CPlatform"], swiftSettings: hot),
        .target(name: "Wire", dependencies: ["Bytes"], swiftSettings: hot),
        .target(
            name: "DragonflySource", dependencies: ["Bytes", "Wire"], swiftSettings: hot),
        .target(
            name: "RedisTarget", dependencies: ["Bytes", "Reactor", "Wire"], swiftSettings: hot),
        .target(
            name: "Replication",
            dependencies: [
                "Bytes", "Reactor", "Wire", "DragonflySource", "RedisTarget", "CPlatform",
            ],
            swiftSettings: hot),
        .target(
            name: "Operations", dependencies: ["Replication", "Wire", "CPlatform"],
            swiftSettings: strict),
        .executableTarget(
            name: "df2redis",
            dependencies: [
                "Operations", "Replication", "RedisTarget", "Wire", "CPlatform", "Yams",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Logging", package: "swift-log"),
            ],
            swiftSettings: strict),

        .target(
            name: "DragonflySimulator", dependencies: ["Bytes", "CPlatform", "CCodec"],
            swiftSettings: strict),
        .executableTarget(
            name: "df2redis-simulator",
            dependencies: [
                "DragonflySimulator",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        .executableTarget(
            name: "df2redis-bench",
            dependencies: [
                "Bytes", "Reactor", "Wire", "RedisTarget", "Replication", "DragonflySimulator",
                "CPlatform",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench", exclude: ["big-values", "demo"], sources: ["df2redis-bench"],
            swiftSettings: strict),

        .target(
            name: "TestSupport", dependencies: ["Bytes", "CPlatform"], path: "Tests/TestSupport",
            swiftSettings: strict),
        .testTarget(
            name: "BytesTests", dependencies: ["Bytes", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "ReactorTests", dependencies: ["Reactor", "Bytes", "CPlatform", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "WireTests", dependencies: ["Wire", "Bytes", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "DragonflySourceTests",
            dependencies: ["DragonflySource", "Bytes", "Wire", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "RedisTargetTests",
            dependencies: [
                "RedisTarget", "Bytes", "CPlatform", "Reactor", "Wire", "DragonflySimulator",
                "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "ReplicationTests",
            dependencies: [
                "Replication", "RedisTarget", "DragonflySource", "Wire", "Reactor", "Bytes",
                "CPlatform", "CAllocGate", "DragonflySimulator", "TestSupport",
            ],
            swiftSettings: strict),
        .testTarget(
            name: "OperationsTests",
            dependencies: ["Operations", "Replication", "CPlatform", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "df2redis", "Operations", "Replication", "RedisTarget", "Wire", "TestSupport",
            ],
            exclude: ["Fixtures"], swiftSettings: strict),
        .testTarget(
            name: "SimulatorTests", dependencies: ["DragonflySimulator", "Bytes", "TestSupport"],
            swiftSettings: strict),
        .testTarget(
            name: "IntegrationTests",
            dependencies: [
                "df2redis", "df2redis-simulator", "Bytes", "DragonflySimulator", "Operations",
                "TestSupport",
            ],
            swiftSettings: strict),
    ]
)
