package attempts

import (
	"net/url"
	"regexp"
	"strings"
)

// ShownURL returns a URL without user, password, query and fragment, which may hold secrets; "***" when it can't be
// parsed.
func ShownURL(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "***"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// quoted matches what may be secret in the URLs that an error quotes: up to the last @, and from the first ? on.
var (
	quotedUser  = regexp.MustCompile(`(://)[^\s"]*@`)
	quotedQuery = regexp.MustCompile(`(://[^\s"?]*)\?[^\s"]*`)
)

// Masked takes user, password and query out of the URLs in a text.
func Masked(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	return quotedQuery.ReplaceAllString(quotedUser.ReplaceAllString(s, "$1"), "$1")
}
