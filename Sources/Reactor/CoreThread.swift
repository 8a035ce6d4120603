public import Bytes
import CPlatform
import Glibc

/// What runs on a core's thread. It is handed to the thread at its start and belongs to it.
public protocol CoreBody: AnyObject, Sendable {
    /// Runs until the core's work is done.
    func runCore()
}

/// Threads for reactors.
public enum CoreThread {
    private final class Launch {
        let body: any CoreBody
        let name: String
        let cpu: Int32?

        init(body: any CoreBody, name: String, cpu: Int32?) {
            self.body = body
            self.name = name
            self.cpu = cpu
        }
    }

    /// The CPUs that the calling thread may run on, in ascending order.
    public static func availableCPUs() throws(SystemError) -> [Int] {
        let count = cp_cpu_count()
        guard count >= 0 else { throw SystemError(result: count) }
        var cpus: [Int] = []
        for index in 0..<count {
            let cpu = cp_cpu_at(index)
            guard cpu >= 0 else { throw SystemError(result: cpu) }
            cpus.append(Int(cpu))
        }
        return cpus
    }

    /// Starts a detached thread.
    /// - Parameters:
    ///   - name: shown by `top -H`, at most 15 bytes.
    ///   - cpu: pins the thread to that CPU; nil leaves it floating.
    public static func start(
        _ body: any CoreBody, name: String, pinnedTo cpu: Int?
    ) throws(SystemError) {
        let launch = Launch(body: body, name: name, cpu: cpu.map { Int32($0) })
        var attributes = pthread_attr_t()
        pthread_attr_init(&attributes)
        pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
        defer { pthread_attr_destroy(&attributes) }
        var thread = pthread_t()
        // Proof: the retain given here is taken by the thread, or by us if it did not start.
        let context = Unmanaged.passRetained(launch)
        let code = pthread_create(
            &thread, &attributes,
            { context in
                let launch = Unmanaged<Launch>.fromOpaque(context!).takeRetainedValue()
                // A missing name or pin changes speed, not results.
                _ = cp_name_thread(launch.name)
                if let cpu = launch.cpu { _ = cp_pin_thread(cpu) }
                launch.body.runCore()
                return nil
            }, context.toOpaque())
        guard code == 0 else {
            context.release()
            throw SystemError(code: code)
        }
    }
}
