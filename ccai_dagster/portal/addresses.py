"""Which page stands at which address."""

from django.urls import path
from django.views.i18n import set_language

from ccai_dagster.portal import desk_views as desk
from ccai_dagster.portal import information_views as information
from ccai_dagster.portal import participant_views as people
from ccai_dagster.portal import rating_views as rating
from ccai_dagster.portal import team_views as team

urlpatterns = [
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
    path("desk/feedback", information.feedback_read, name="feedback_read"),
    path("desk/", desk.queue, name="queue"),
    path("rate/", rating.rate, name="rate"),
    path("desk/sign-in", team.sign_in, name="sign_in"),
    path("desk/sign-out", team.sign_out, name="sign_out"),
    path("language", set_language, name="set_language"),
    path("portal.css", people.asset, {"name": "portal.css"}, name="style"),
    path("portal.js", people.asset, {"name": "portal.js"}, name="script"),
]
handler404 = people.not_found
handler500 = people.broken
