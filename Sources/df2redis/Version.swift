/// The release of this program.
let programVersion = "0.1.0"
