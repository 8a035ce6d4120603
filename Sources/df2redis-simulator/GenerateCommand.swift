import ArgumentParser
import DragonflySimulator

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Serve generated data, and generated writes after it.")

    enum Compression: String, ExpressibleByArgument, CaseIterable {
        case none
        case lz4
        case zstd
    }

    @OptionGroup var content: ContentOptions

    @Option(help: "How the snapshot is compressed: none, lz4 or zstd.")
    var compression = Compression.lz4
    @Option(help: "Collections above this size come in chunks; 0 for none.") var chunkBytes = 65536
    @Flag(help: "Encode the snapshot before listening, so that serving it costs little.")
    var prepare = false

    @OptionGroup var server: ServerOptions

    func validate() throws {
        guard chunkBytes >= 0 else { throw ValidationError("--chunk-bytes must not be negative") }
    }

    func run() throws {
        var encoding = SnapshotOptions()
        encoding.compression =
            switch compression {
            case .none: .none
            case .lz4: .lz4
            case .zstd: .zstd
            }
        encoding.chunkBytes = chunkBytes
        encoding.isPrepared = prepare
        try server.run(
            .synthetic(content.data, traffic: content.traffic, encoding: encoding))
    }
}
