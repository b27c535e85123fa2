// Package webfile serves files and listings of directories over HTTP: http.rootPath, http.virtualPath, and what downloadFile
// names.
//
// Contract.
//
//   - Nothing outside the configured roots is ever opened, whatever a path, a link on disk or a name of a virtual host says:
//     every file is opened below its root by the operating system (os.Root). Names that begin with a dot are not served, but
//     for /.well-known. Only regular files and directories are.
//   - Before anything of a file or a listing is shown the Gate is asked, also about a file that is not there. What it says can
//     be remembered for a visitor, who is known by a cookie, or without one by its address and the query. Whoever has no
//     answer gets 401.
//   - No lock is held while the Gate is asked or a file is read: a slow decision or a slow disk holds nobody else.
//   - Ranges, validators and conditions are those of net/http (RFC 9110 sections 13 and 14). The tag of a file is made of its
//     size and time.
//   - A client that takes nothing for some time is cut.
package webfile
