/// When Dragonfly's collections leave their compact form, and how large their pieces become: the
/// same in all releases emulated here unless noted.
enum CollectionLimits {
    /// A hash's listpack stays smaller (`listpack_max_bytes`).
    static let hashListpackBytes = 1024
    /// The longest field or value in one (`listpack_max_field_len`). In the newest release a hash of
    /// one field may have any value.
    static let hashElementBytes = 64
    static let sortedSetListpackMembers = 128
    static let sortedSetMemberBytes = 32
    static let intsetMembers = 256
    /// A list node's listpack stays smaller (`list_max_listpack_size` -2); a longer element is a
    /// node of its own, verbatim, from the release on that has type 18.
    static let listNodeBytes = 8192
    static let streamNodeBytes = 4096
    static let streamNodeEntries = 100
}
