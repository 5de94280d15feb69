package api

import (
	"net/http"
)

// routes maps every call of docs/api.md.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range map[string]http.Handler{
		"GET /v1/status":                 answer(s.status),
		"GET /v1/peers":                  answer(s.peers),
		"GET /v1/peers/{peer}":           answer(s.peer),
		"GET /v1/rates":                  answer(s.rates),
		"GET /v1/doctor":                 answer(s.doctor),
		"POST /v1/invite":                answer(s.invite),
		"POST /v1/invite/approve/{code}": answer(s.approve),
		"POST /v1/leave":                 streaming(s.leave),
		"POST /v1/forget/{peer}":         answer(s.forget),

		"POST /v1/key/export": answer(s.keyExport),
		"POST /v1/key/import": answer(s.keyImport),

		"POST /v1/put":         streaming(s.put),
		"POST /v1/get":         streaming(s.get),
		"GET /v1/ls/{cid}":     answer(s.ls),
		"GET /v1/datasets":     answer(s.datasets),
		"GET /v1/where/{cid}":  streaming(s.where),
		"POST /v1/pin/{cid}":   streaming(s.pin),
		"POST /v1/unpin/{cid}": answer(s.unpin),
		"POST /v1/gc":          answer(s.gc),

		"POST /v1/modules":           answer(s.upload),
		"GET /v1/modules/{cid}":      answer(s.module),
		"POST /v1/run":               streaming(s.run),
		"GET /v1/tasks":              answer(s.tasks),
		"GET /v1/tasks/{id}":         answer(s.task),
		"GET /v1/tasks/{id}/logs":    http.HandlerFunc(s.taskLogs),
		"GET /v1/tasks/{id}/wait":    streaming(s.taskWait),
		"POST /v1/tasks/{id}/cancel": answer(s.taskCancel),

		"POST /v1/agents":      answer(s.agentCreate),
		"GET /v1/agents":       answer(s.agentList),
		"POST /v1/agents/call": answer(s.agentCall),
		"GET /v1/agents/show":  answer(s.agentShow),
		"DELETE /v1/agents":    answer(s.agentRemove),

		"POST /v1/agents/move":    answer(s.agentMove),
		"POST /v1/agents/upgrade": answer(s.agentUpgrade),
		"POST /v1/agents/recover": answer(s.agentRecover),
		"GET /v1/agents/history":  answer(s.agentHistory),
		"GET /v1/agents/logs":     http.HandlerFunc(s.agentLogs),

		"POST /v1/state":      answer(s.stateChange),
		"GET /v1/state":       answer(s.stateList),
		"GET /v1/state/get":   answer(s.stateGet),
		"GET /v1/state/watch": streaming(s.stateWatch),

		"POST /v1/topics":            answer(s.topicCreate),
		"GET /v1/topics":             answer(s.topicList),
		"GET /v1/topics/show":        answer(s.topicShow),
		"DELETE /v1/topics":          answer(s.topicRemove),
		"POST /v1/topics/publish":    answer(s.topicPublish),
		"POST /v1/topics/ask":        answer(s.topicAsk),
		"GET /v1/topics/sub":         streaming(s.topicSub),
		"POST /v1/topics/bind":       answer(s.topicBind),
		"DELETE /v1/topics/bind":     answer(s.topicUnbind),
		"GET /v1/topics/dead":        answer(s.topicDead),
		"POST /v1/topics/resend":     answer(s.topicResend),
		"DELETE /v1/topics/consumer": answer(s.topicForget),

		"POST /v1/services":      answer(s.serviceCreate),
		"GET /v1/services":       answer(s.serviceList),
		"POST /v1/services/call": answer(s.serviceCall),
		"GET /v1/services/show":  answer(s.serviceShow),
		"DELETE /v1/services":    answer(s.serviceRemove),

		"POST /v1/owners": answer(s.ownerNew),
		"GET /v1/owners":  answer(s.ownerList),

		"/": answer(nothing),
	} {
		mux.Handle(pattern, h)
	}
	return s.guard(mux)
}
