package api

import "strings"

// absentCalls are calls of ZLMediaKit whose feature Hookline does not have, by feature. They are answered in ZLMediaKit's
// form, since its clients take every answer for JSON and show msg to their users; getApiList does not name them. Calls
// whose failure is no JSON with ZLMediaKit either, getSnap, whip and whep, are 404 like any unknown path.
func absentCalls() map[string][]string {
	return map[string][]string{
		"pull proxies":                  {"addStreamProxy", "delStreamProxy", "listStreamProxy", "getProxyInfo"},
		"push proxies":                  {"addStreamPusherProxy", "delStreamPusherProxy", "listStreamPusherProxy", "getProxyPusherInfo"},
		"FFmpeg sources":                {"addFFmpegSource", "delFFmpegSource", "listFFmpegSource"},
		"speed and pause of proxies":    {"setStreamSpeed", "pauseStream", "seekStream"},
		"RTP servers (GB28181)":         {"openRtpServer", "openRtpServerMultiplex", "closeRtpServer", "listRtpServer", "getRtpInfo", "connectRtpServer", "updateRtpServerSSRC", "pauseRtpCheck", "resumeRtpCheck"},
		"RTP senders (GB28181)":         {"startSendRtp", "startSendRtpPassive", "startSendRtpTalk", "stopSendRtp", "listRtpSender"},
		"snapshots":                     {"deleteSnapDirectory"},
		"messages to viewers":           {"broadcastMessage"},
		"probes of frames":              {"addProbe"},
		"WebRTC":                        {"webrtc", "getWebrtcProxyPlayerInfo", "addWebrtcRoomKeeper", "delWebrtcRoomKeeper", "listWebrtcRoomKeepers", "listWebrtcRooms"},
		"ONVIF":                         {"searchOnvifDevice", "getStreamUrl"},
		"download of the executable":    {"downloadBin"},
		"the picture-in-picture canvas": {"stack/start", "stack/reset", "stack/stop"},
	}
}

// nothingThere are the calls that ask for, or end, what can't exist without the feature: their answers are those of a
// ZLMediaKit that has none of it. So monitors that list everything go on.
func nothingThere() map[string]answer {
	flag := answer{"code": CodeSuccess, "data": answer{"flag": false}}
	empty := answer{"code": CodeSuccess} // a list without elements has no data
	return map[string]answer{
		"listStreamProxy": empty, "listStreamPusherProxy": empty, "listFFmpegSource": empty, "listRtpServer": empty,
		"listRtpSender": empty, "listWebrtcRoomKeepers": empty, "listWebrtcRooms": empty, "deleteSnapDirectory": empty,
		"delStreamProxy": flag, "delStreamPusherProxy": flag, "delFFmpegSource": flag,
		"getRtpInfo":     {"code": CodeSuccess, "exist": false},
		"closeRtpServer": {"code": CodeSuccess, "hit": 0},
	}
}

// registerAbsent fills the table of calls that are answered without being there. Those that exist stay what they are.
func (a *API) registerAbsent() {
	nothing := nothingThere()
	for feature, names := range absentCalls() {
		for _, name := range names {
			key := strings.ToLower(indexPrefix + name)
			if a.calls[key] != nil {
				continue
			}
			a.absent[key] = &endpoint{name: name, open: name == "webrtc", handle: func(*call) (any, error) {
				if m, ok := nothing[name]; ok {
					return m, nil
				}
				return nil, &callError{CodeOtherFailed, name + " is not available: Hookline has no " + feature}
			}}
		}
	}
}
