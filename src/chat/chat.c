/* chat: its two halves as the shard's table takes them. SPDX-License-Identifier: Apache-2.0 */
#include "chat/chat.h"

#include "chat/chat_in.h"

struct chat_halves chat_halves(void) {
    return (struct chat_halves){
        {"chat, conversation side", chat_conversation_rules, chat_conversation_rule_count,
            chat_conversation_routes, chat_conversation_route_count},
        {"chat, member side", chat_member_rules, chat_member_rule_count, chat_member_routes,
            chat_member_route_count},
    };
}
