import ArgumentParser
import DragonflySimulator

struct RecordCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "record", abstract: "Play what a real master once sent.")

    @Argument(help: "Folder of the recording (manifest.json and flow-N.bin.gz).")
    var folder: String

    @Option(help: "Folder of a recording that resumed where the first one stopped.")
    var continuation: String?

    @OptionGroup var server: ServerOptions

    func run() throws {
        let recording = try Recording(folder: folder)
        var next: Recording?
        if let continuation {
            let candidate = try Recording(folder: continuation)
            guard candidate.continues(recording) else {
                throw ValidationError("\(continuation) does not continue \(folder)")
            }
            next = candidate
        }
        try server.run(.recording(recording, continuation: next))
    }
}
