"""Which page stands at which address."""

from django.conf import settings
from django.urls import path
from django.views.generic import RedirectView
from django.views.i18n import set_language

from ccai_dagster.consultation.folder import PORTAL
from ccai_dagster.portal import conversation_views as conversation
from ccai_dagster.portal import desk_views as desk
from ccai_dagster.portal import editing_views as editing
from ccai_dagster.portal import information_views as information
from ccai_dagster.portal import pages
from ccai_dagster.portal import participant_views as people
from ccai_dagster.portal import rating_views as rating
from ccai_dagster.portal import signing_views as signing
from ccai_dagster.portal import team_views as team

for_participants = [
    path("", people.start, name="start"),
    path("join", people.join, name="join"),
    path("vote", people.vote, name="vote"),
    path("undo", people.undo, name="undo"),
    path("votes", people.own_votes, name="own_votes"),
    path("add", people.add, name="add"),
    path("map", people.opinion_map, name="opinion_map"),
    path("code", people.code, name="code"),
    path("return", people.come_back, name="come_back"),
    path("leave", people.leave, name="leave"),
    path("delete", people.delete, name="delete"),
    path("questions", information.questions, name="questions"),
    path("feedback", information.feedback, name="feedback"),
]
if settings.CONSULTATION.votes != PORTAL:  # nobody votes here, so that all of these lead to the desk
    to_desk = RedirectView.as_view(pattern_name="ledgers")
    for_participants = [path(str(each.pattern), to_desk, name=each.name) for each in for_participants]

urlpatterns = [
    *for_participants,
    path("desk/feedback", information.feedback_read, name="feedback_read"),
    path("desk/", desk.queue, name="queue"),
    path("desk/ledgers", editing.ledgers, name="ledgers"),
    path("desk/ledger/<slug:kind>", editing.ledger, name="ledger"),
    path("desk/sign", signing.signing, name="signing"),
    path("desk/constitution", signing.constitution, name="constitution"),
    path("rate/", rating.rate, name="rate"),
    path("rate/conversation/<slug:quality>", conversation.converse, name="converse"),
    path("desk/sign-in", team.sign_in, name="sign_in"),
    path("desk/sign-out", team.sign_out, name="sign_out"),
    path("language", set_language, name="set_language"),
    path("portal.css", pages.asset, {"name": "portal.css"}, name="style"),
    path("portal.js", pages.asset, {"name": "portal.js"}, name="script"),
    path("desk.css", pages.asset, {"name": "desk.css"}, name="desk_style"),
    path("desk.js", pages.asset, {"name": "desk.js"}, name="desk_script"),
]
handler400 = pages.unreadable
handler404 = pages.not_found
handler500 = pages.broken
