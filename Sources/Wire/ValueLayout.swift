import Bytes

/// The shapes of encoded values as short programs, one letter per primitive, that `ValueWalker`
/// runs (protocol.md 3.9):
///
///     s  a str                          l  a len of any value
///     b  a len n, then n bytes          4 8 g  that many (16) raw bytes
///     (  a len n; up to the matching ), n times
///     [  a u32le n; up to the matching ), n + 1 times
///     v  a u32le n, then n x 4 bytes
///     p  a len: the total for q         q  strs until their decoded sizes reach that total
///     d  a len: a factor for x          x  8 bytes for each unit of the product of the factors
///     m  typed operands of a module up to its end mark
enum ValueLayout {
    static func program(of type: ValueType) -> ByteView {
        switch type {
        case .string, .json, .setIntset, .setListpack, .hashZiplist, .hashListpack,
            .zsetZiplist, .zsetListpack:
            string
        case .set, .listQuicklist: ByteView("(s)")
        case .hash, .setWithExpiry: ByteView("(ss)")
        case .hashWithExpiry: ByteView("(sss)")
        case .zset2: ByteView("(s8)")
        case .listQuicklist2: ByteView("(ls)")
        // Nodes; length and ids; groups, each with its pending entries and its consumers.
        case .streamListpacks: ByteView("(ss)lll(sll(g8l)(s8(g)))")
        case .streamListpacks2: ByteView("(ss)llllllll(slll(g8l)(s8(g)))")
        case .streamListpacks3: ByteView("(ss)llllllll(slll(g8l)(s88(g)))")
        case .bloom: ByteView("l88lll(ls)")
        case .bloomChunked: ByteView("l88lll(lpq)")
        case .countMin: ByteView("ddlx")
        case .topK: ByteView("llll8(sl)b")
        case .cuckoo: ByteView("llllll(pq)")
        }
    }

    /// One str: also the body of a journal blob and the value of an AUX field.
    static var string: ByteView { ByteView("s") }

    // Items that are passed over whole (protocol.md 3.3, 3.9.12).
    static var vectorIndex: ByteView { ByteView("sl(48[v))") }
    /// Before v1.39 there was no entry point.
    static var vectorIndexWithoutEntryPoint: ByteView { ByteView("s(48[v))") }
    static var shardDocumentIndex: ByteView { ByteView("ls(sl)") }
    static var moduleAuxiliary: ByteView { ByteView("lm") }
}
