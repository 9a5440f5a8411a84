/*
 * What can be asked of the control plane: the one list that the API's routes, the decoder, the
 * OpenAPI description, the CLI and their tests follow.
 *
 *   X(NAME, method, path)      {name} in a path becomes the parameter "name"
 */
#pragma once

#define CTL_OPS(X)                                                                                 \
	X(STATUS, GET, "/v1/status")                                                               \
	X(HEALTH, GET, "/v1/health")                                                               \
	X(INTERFACE_LIST, GET, "/v1/interfaces")                                                   \
	X(INTERFACE_SHOW, GET, "/v1/interfaces/{name}")                                            \
	X(INTERFACE_ADD, POST, "/v1/interfaces")                                                   \
	X(INTERFACE_SET, POST, "/v1/interfaces/{name}/set")                                        \
	X(INTERFACE_REMOVE, DELETE, "/v1/interfaces/{name}")                                       \
	X(INTERFACE_BALANCE, POST, "/v1/interfaces/balance")                                       \
	X(LU_LIST, GET, "/v1/lus")                                                                 \
	X(LU_SHOW, GET, "/v1/lus/{name}")                                                          \
	X(LU_ADD, POST, "/v1/lus")                                                                 \
	X(LU_CHECK, POST, "/v1/lus/{name}/check")                                                  \
	X(LU_FAULT, POST, "/v1/lus/{name}/fault")                                                  \
	X(LU_REMOVE, DELETE, "/v1/lus/{name}")                                                     \
	X(PATH_LIST, GET, "/v1/paths")                                                             \
	X(PATH_SHOW, GET, "/v1/paths/{lu}/{via}")                                                  \
	X(PATH_ADD, POST, "/v1/paths")                                                             \
	X(PATH_CONFIRM_DEAD, POST, "/v1/paths/{lu}/{via}/confirm-dead")                            \
	X(PATH_REMOVE, DELETE, "/v1/paths/{lu}/{via}")                                             \
	X(VOLUME_LIST, GET, "/v1/volumes")                                                         \
	X(VOLUME_SHOW, GET, "/v1/volumes/{name}")                                                  \
	X(VOLUME_CREATE, POST, "/v1/volumes")                                                      \
	X(VOLUME_MAP, GET, "/v1/volumes/{name}/map")                                               \
	X(VOLUME_CANDIDATES, GET, "/v1/volumes/{name}/candidates")                                 \
	X(VOLUME_SWITCH_PATH, POST, "/v1/volumes/{name}/switch-path")                              \
	X(VOLUME_DELETE, DELETE, "/v1/volumes/{name}")                                             \
	X(EXPORT_LIST, GET, "/v1/exports")                                                         \
	X(EXPORT_SHOW, GET, "/v1/exports/{id}")                                                    \
	X(EXPORT_ADD, POST, "/v1/exports")                                                         \
	X(EXPORT_REMOVE, DELETE, "/v1/exports/{id}")                                               \
	X(CLIENT_LIST, GET, "/v1/clients")                                                         \
	X(CLIENT_SHOW, GET, "/v1/clients/{name}")                                                  \
	X(CLIENT_ADD, POST, "/v1/clients")                                                         \
	X(CLIENT_REMOVE, DELETE, "/v1/clients/{name}")                                             \
	X(CHANGE_LIST, GET, "/v1/changes")                                                         \
	X(CHANGE_SHOW, GET, "/v1/changes/{id}")                                                    \
	X(CHANGE_CANCEL, POST, "/v1/changes/{id}/cancel")                                          \
	X(NODE_LIST, GET, "/v1/nodes")                                                             \
	X(NODE_SHOW, GET, "/v1/nodes/{name}")                                                      \
	X(METRICS, GET, "/metrics")
/* GET /v1/events is a stream, served through ctl/events.h. */
